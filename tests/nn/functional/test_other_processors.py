"""Processors that the kernels are not for: operations take their plain forms, give the same numbers, and it is told."""

import importlib
import platform
import shutil
import struct
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close
from phlox import cli
from phlox.compress.layers import _product_kernel, _weight_kernel
from phlox.nn.functional.kernels import _kernels

NATIVE = Path(__file__).resolve().parents[3] / "native"
AARCH64 = 183  # as ELF numbers machines
F = px.nn.functional

INSTALLED = _kernels.package()


@pytest.fixture(autouse=True)
def small_matrices_are_large(monkeypatch):
    monkeypatch.setattr(_weight_kernel, "LEAST", 1)
    monkeypatch.setattr(_product_kernel, "LEAST", 1)
    monkeypatch.delenv("PHLOX_CPU_KERNELS", raising=False)


def operations():
    """A function of a picture for each family of kernels that has one, with gradients where they have kernels too."""
    rng = np.random.default_rng(0)
    weight, scale = (jnp.asarray(rng.normal(size=s).astype("f")) for s in ((3, 3, 8, 16), (16,)))
    plain = px.Chain(px.Dense(8, 64, key=0))
    eight, four = (px.constant(px.compress.quantize(plain, **o)) for o in ({"inputs": "dynamic"}, {"bits": 4}))
    return {
        "convolution": jax.grad(lambda x: jnp.sum(jnp.sin(F.conv(x, weight)))),
        "pooling": jax.grad(lambda x: jnp.sum(jnp.sin(F.max_pool(jnp.tile(x, 2), 2)))),
        "layer norm": jax.grad(lambda x: jnp.sum(jnp.sin(F.layer_norm(jnp.tile(x, 2), 16, scale, scale)))),
        "attention": lambda x: F.dot_product_attention(*[x.reshape(2, 24, 3, 8)] * 3, causal=True),
        "integer products": lambda x: eight(x),
        "integer weights": lambda x: four(x[0, :4]),
    }


def numbers(by_kernels: bool | None = None) -> dict[str, np.ndarray]:
    """What the operations give, by programs compiled anew, each of which calls kernels, or does not."""
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 12, 6, 8)).astype("f"))
    found = {}
    for name, run in operations().items():
        program = jax.jit(run).lower(x)
        assert by_kernels in (None, "phlox_cpu" in program.as_text()), name
        found[name] = np.asarray(program.compile()(x))
    return found


def told(capsys) -> dict[str, str]:
    assert cli.main(["doctor"]) == 0
    lines = (line.partition("  ") for line in capsys.readouterr().out.splitlines())
    return {name.strip(): fact.strip() for name, _, fact in lines}


def not_installed(monkeypatch, tmp_path):
    """As ``pip install phlox`` leaves it where there is no wheel of kernels, and no compiler."""
    monkeypatch.setitem(sys.modules, "phlox_cpu", None)
    return "phlox-cpu is not installed"


def of_another_machine(monkeypatch, tmp_path):
    """An environment that was copied from elsewhere: the library is an ELF file, and for another processor."""
    package = Path(
        shutil.copytree(NATIVE / "phlox_cpu", tmp_path / "phlox_cpu", ignore=shutil.ignore_patterns("*.so*"))
    )
    head = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    rest = struct.pack("<HHIQQQIHHHHHH", 3, AARCH64, 1, 0, 64, 0, 0, 64, 56, 0, 64, 0, 0)
    (package / "libphlox_cpu.so").write_bytes(head + rest)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return "phlox-cpu does not load: "


@pytest.mark.parametrize("fake", [not_installed, of_another_machine])
def test_arm64_takes_the_plain_forms_and_says_so(fake, monkeypatch, tmp_path, capsys):
    before = numbers(by_kernels=INSTALLED.library is not None)
    for name in [n for n in sys.modules if n.partition(".")[0] == "phlox_cpu"]:
        monkeypatch.delitem(sys.modules, name)
    reason = fake(monkeypatch, tmp_path)
    importlib.invalidate_caches()
    package = _kernels.package.__wrapped__()
    assert package.library is None
    assert package.reason.startswith(reason)
    monkeypatch.setattr(_kernels, "package", lambda: package)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    after = numbers(by_kernels=False)
    for name, wanted in before.items():
        assert_close(after[name], wanted, kind="grad", what=name)
    found = told(capsys)
    assert found["python"].endswith("aarch64")
    assert found["kernels"] == f"plain JAX: {package.reason}"
    assert not [name for name in found if name.startswith("phlox_")]  # no kernel is said to be ready


class Without:
    """The library, on a processor that has neither VNNI nor AVX2."""

    def __getattr__(self, name):
        if name in ("phlox_cpu_integer_instructions", "phlox_cpu_vector_bits"):
            return lambda: 0
        return getattr(INSTALLED.library, name)


def test_instructions_that_are_missing_are_told(monkeypatch, capsys):
    if INSTALLED.library is None:
        pytest.skip(f"kernels are out of use: {INSTALLED.reason}")
    names = ("integer products", "integer weights")
    before = numbers()
    kernels = [_kernels._all["phlox_integer_product"], _kernels._all["phlox_integer_weights"]]
    uses = [kernel.use for kernel in kernels]
    monkeypatch.setattr(_kernels, "package", lambda: _kernels.Package(Without(), "in use"))
    after = numbers()
    for name in names:
        assert_close(after[name], before[name], what=name)
    found = told(capsys)
    assert found["products of int8"] == "in plain JAX: this processor has no AVX2"
    for kernel, use in zip(kernels, uses, strict=True):
        assert (kernel.use.kernel, kernel.use.reference) == (use.kernel, use.reference + 1)
        assert found[kernel.name].endswith("(last: the processor has no AVX2)")
