"""The benchmark of reading weights: all its contenders load the same values, and its bars compare what they say."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from kit import oracle

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def reading():
    """Loaded by its path, as it is a script."""
    sys.path.append(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("read_weights", BENCHMARKS / "read_weights.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look
    spec.loader.exec_module(module)
    return module


def test_every_contender_loads_the_same_values(reading, tmp_path, capsys):
    oracle("torch")
    largest = reading.write(tmp_path, reading.Settings(layers=4, width=4))
    assert largest == max(path.stat().st_size for path in (tmp_path / "shards").iterdir())
    for name in reading.CONTENDERS:
        reading.child(name, tmp_path)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == len(reading.CONTENDERS) == 6
    sums = [run["sum"] for run in found]
    assert abs(sums[0]) > 0.1
    assert sums == pytest.approx([sums[0]] * 6, rel=1e-4)
    assert all(run["seconds"] >= run["load"] > 0 for run in found)


def test_bars_compare_time_with_what_pytorch_does_of_the_kind_and_memory_with_the_largest_file(reading):
    times = {name: [1.0, 2.0, 3.0] for name in reading.CONTENDERS}
    times[reading.TORCH_TURNED], times[reading.MAPPED] = [2.0, 4.0, 6.0], [0.5, 1.0, 1.5]
    peaks = dict.fromkeys(reading.CONTENDERS, 110)
    found = reading.Results(times, peaks, size=100, shard=25, notes=[]).bars()
    assert [bar.value for bar in found] == [1.0, 1.0, 0.5, 2.0, 1.1, 1.1, 4.4]
    assert [bar.verdict for bar in found] == ["pass", "pass", "pass", "miss", "pass", "pass", "miss"]
