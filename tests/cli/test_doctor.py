"""``phlox doctor``: each fact is there, and true."""

import importlib.metadata
import os
import platform
from types import SimpleNamespace

import jax
import pytest

from phlox import cli
from phlox.nn.functional.kernels import _kernels


def facts(capsys):
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {name.rstrip(): fact for name, fact in (line.split("  ", 1) for line in lines)}


def test_versions_devices_and_cache(capsys):
    found = {k: v.strip() for k, v in facts(capsys).items()}
    assert found["python"].startswith(platform.python_version())
    assert found["jax"] == jax.__version__
    assert found["numpy"] == importlib.metadata.version("numpy")
    assert found["devices"] == f"{jax.device_count()} × cpu (cpu)"
    assert found["processor"] == f"{len(os.sched_getaffinity(0))} cores for this process"
    assert found["compile cache"] == "off"


@pytest.mark.parametrize(
    ("package", "said"),
    [
        (_kernels.Package(None, "phlox-cpu is not installed"), "plain JAX: phlox-cpu is not installed"),
        (_kernels.Package(None, "turned off by PHLOX_CPU_KERNELS"), "plain JAX: turned off by PHLOX_CPU_KERNELS"),
    ],
)
def test_why_no_kernels_are_in_use(package, said, capsys, monkeypatch):
    monkeypatch.setattr(_kernels, "package", lambda: package)
    assert facts(capsys)["kernels"].strip() == said


@pytest.mark.parametrize(
    ("instructions", "said"),
    [
        (b"AVX2", "convolutions and products in plain JAX"),
        (b"AVX-512 with VNNI", "convolutions and products in plain JAX"),
        (b"AVX-512 with bfloat16", "convolutions and products by the processor's own"),
        (b"AVX-512 with AMX", "convolutions and products by the processor's own"),
    ],
)
def test_what_is_done_in_bfloat16(instructions, said, capsys, monkeypatch):
    library = SimpleNamespace(
        phlox_cpu_onednn_version=lambda: b"3.2.0",
        phlox_cpu_instructions=lambda: instructions,
        phlox_cpu_threads=lambda: 2,
        phlox_cpu_integer_instructions=lambda: 3,
    )
    monkeypatch.setattr(_kernels, "package", lambda: _kernels.Package(library, "in use"))
    found = facts(capsys)
    assert said in found["kernels in bfloat16"]
    assert "LSTM and GRU in float32, rounded once" in found["kernels in bfloat16"]
    assert found["products of int8"].strip() == "by words of 16 bits: this processor has no VNNI"


def test_a_broken_package_is_told_and_does_no_harm(monkeypatch):
    def broken(name):
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.delenv("PHLOX_CPU_KERNELS", raising=False)
    monkeypatch.setattr(_kernels.importlib, "import_module", broken)
    library, reason = _kernels.package.__wrapped__()
    assert library is None
    assert reason == "phlox-cpu does not load: libgomp.so.1: cannot open shared object file"


def test_the_switch(monkeypatch):
    monkeypatch.setenv("PHLOX_CPU_KERNELS", "off")
    assert _kernels.package.__wrapped__() == (None, "turned off by PHLOX_CPU_KERNELS")
