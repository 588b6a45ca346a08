"""The benchmark of inference: all that take part compute the same, and what Phlox is held to."""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit import oracle

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))  # the scripts there import each other as a script's folder allows
inference: Any = importlib.import_module("inference")
inferring: Any = importlib.import_module("_inferring")
runtimes: Any = importlib.import_module("_runtimes")
Race: Any = importlib.import_module("_saved_models").Race


@functools.cache
def written(name: str) -> Path:
    """What is written of a small network, for one batch."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    (folder / "about.json").write_text(json.dumps({"small": True}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inferring, "BATCHES", (8,))
        inferring.write(inferring.NETWORKS[name], folder, small=True)
    return folder


RACES = [("lstm", "float32")]
LONG = [("mlp", "float32")]
LONG += [(name, precision) for name in ("resnet50", "vit", "bert") for precision in inference.PRECISIONS]


@pytest.mark.parametrize(("name", "precision"), [*RACES, *(pytest.param(*r, marks=pytest.mark.soak) for r in LONG)])
def test_all_that_take_part_compute_the_same(name: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = oracle("torch")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(torch, "compile", lambda model: model)  # it takes a minute, and numbers are the same
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(inferring.px, "keep_freed_memory", lambda: True)
    for form in inference.forms(inferring.NETWORKS[name], precision).values():
        if form.framework == "openvino":  # in processes of the benchmark alone: it starts others
            continue
        check, step = runtimes.MAKERS[form.framework](form, written(name), f"{name}@8")
        assert check() == 1.0, form.name
        assert step().dtype == np.float32


def test_another_network_is_noticed(tmp_path: Path) -> None:
    wanted = np.array([[-2.0, 1.0]], np.float32)
    np.save(tmp_path / "1.npy", wanted)
    np.save(tmp_path / "1-wanted.npy", wanted)
    near, far = (1 + f * 1e-5 for f in (0.9, 1.1))
    for factor, said in ((near, 1.0), (far, 0.0), (float("nan"), 0.0)):
        check, _ = runtimes.ready(tmp_path, "mlp@1", "float32", lambda x, f=factor: wanted * f)
        assert check() == said


def race(ours: float, memory: int | None, precision: str = "float32") -> Any:
    times = {f"Phlox, {precision}": [ours], f"ONNX Runtime, {precision}": [2e-3], f"OpenVINO, {precision}": [1e-3]}
    peaks = dict(zip(times, (memory, 2 << 20, 9 << 20), strict=True))
    return Race("batch 1", times, peaks, dict.fromkeys(times, 0.5))


def test_phlox_is_held_to_the_fastest_and_to_onnx_runtimes_memory() -> None:
    results = inference.Results(inferring.NETWORKS["bert"], [("float32", race(0.95e-3, 3 << 20))], [])
    what = [(bar.what, bar.value, bar.verdict) for bar in results.bars()]
    assert what == [
        ("batch 1, float32: Phlox, against OpenVINO, float32", pytest.approx(0.95), "pass"),
        ("the same, the goal", pytest.approx(0.95), "miss"),
        ("peak memory, against ONNX Runtime, float32", 1.5, "miss"),
    ]
    assert results.tables()[0].rows[1] == [
        "batch 1: ONNX Runtime, float32",
        "2.00",
        "2.11×",
        "2.00 – 2.00",
        "2",
    ]
    small = inference.Results(inferring.NETWORKS["mlp"], [("int8", race(1e-3, None, "int8"))], [])
    assert small.tables()[0].rows[0][:2] == ["batch 1: Phlox, int8", "1000"]
    assert small.tables()[0].header[1] == "µs a call"
    assert small.bars()[2].verdict == "not measured"


def test_precisions_have_those_that_know_them() -> None:
    networks = inferring.NETWORKS
    found = {p: [f.framework for f in inference.forms(networks["bert"], p).values()] for p in inference.PRECISIONS}
    assert found["float32"] == ["phlox", "onnx", "openvino", "torch"]
    assert found["bfloat16"] == ["phlox", "openvino", "torch"]
    assert found["int8"] == ["phlox", "onnx", "torch"]
    assert [f.framework for f in inference.forms(networks["vit"], "int8").values()] == ["phlox", "onnx", "openvino"]
    assert inference.forms(networks["mlp"], "int8") == {}


@pytest.mark.soak
def test_it_runs_in_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "pin", lambda cores: cores)  # the other tests keep their cores
    numbers = tmp_path / "numbers.json"
    told = ["--quick", "--only", "mlp", "--batches", "1", "--precisions", "float32", "--json", str(numbers)]
    assert inference.main(told) == 0
    [race] = json.loads(numbers.read_text("utf-8"))["mlp"]["races"]
    assert {"Phlox, float32", "ONNX Runtime, float32"} <= set(race["times"])
