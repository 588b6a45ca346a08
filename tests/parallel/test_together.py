"""Two processes that train together: the numbers of one device, once written, ended together, told apart."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "src"


def launched(folder, *arguments, processes=2, **environment):
    """Two processes started by ``phlox launch``; the program's end, and the files that they wrote."""
    command = [sys.executable, "-m", "phlox", "launch", "--processes", str(processes), str(HERE / "together.py")]
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", **environment}
    done = subprocess.run(
        [*command, *map(str, arguments), str(folder)], env=env, capture_output=True, text=True, check=False, timeout=180
    )
    files = [folder / f"{n}.json" for n in range(processes)]
    return done, [json.loads(file.read_text()) if file.exists() else None for file in files]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes saw that did everything one after the other."""
    folder = tmp_path_factory.mktemp("two")
    done, found = launched(folder, "numbers,ends,differences")
    assert done.returncode == 0, done.stderr[-4000:]
    return found, folder


@pytest.mark.parametrize("way", ["arrays", "stream", "batches", "loss_without_weights", "fsdp"])
def test_numbers_are_those_of_one_device(two, way):
    (first, second), _ = two
    together, alone = first["numbers"][way]["together"], first["numbers"][way]["alone"]
    assert together == second["numbers"][way]["together"]
    assert len(together["losses"]) == len(alone["losses"]) > 3
    np.testing.assert_allclose(together["losses"], alone["losses"], rtol=0, atol=1e-9)
    for path, value in alone["weights"].items():
        np.testing.assert_allclose(together["weights"][path], value, rtol=0, atol=1e-9, err_msg=path)
    for ours, theirs in zip(together["rows"], alone["rows"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)


def test_a_model_cut_over_processes_is_evaluated_and_predicts_all_rows(two):
    (first, second), _ = two
    first, second = first["numbers"], second["numbers"]
    assert first["cut"] == second["cut"] == ["layers.0.weight", "layers.3.weight"]
    assert first["predicted"] == second["predicted"]
    assert np.shape(first["predicted"]) == (22, 3)
    assert first["evaluated"] == second["evaluated"]
