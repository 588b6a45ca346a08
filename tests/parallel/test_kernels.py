"""Kernels over several devices: the checks of checks_kernels, and two processes that train by them."""

import json
from pathlib import Path

import pytest

from parallel.kit import Checks
from phlox.cli._launch import launch
from phlox.nn.functional.kernels._kernels import package

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)

CHECKS = Checks("checks_kernels", soak=["check_fit_over_two_devices_and_over_eight"])
PROGRAM = Path(__file__).with_name("kernels_together.py")


@pytest.mark.soak
@pytest.mark.parametrize("name", CHECKS.params)
def test_kernels(request, name):
    CHECKS.passed(request, name)


@pytest.mark.soak
def test_two_processes_train_by_kernels(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=":")
    assert launch([str(PROGRAM), str(tmp_path)], 2) == 0
    first, second = (json.loads((tmp_path / f"{n}.json").read_text()) for n in range(2))
    assert first == second
    assert first["losses"] == pytest.approx(first["losses of one"], rel=2e-5)
    assert first["distance"] < 1e-4
    assert first["calls"] > 5
    assert first["messages"] == [2, first["weights"]]
