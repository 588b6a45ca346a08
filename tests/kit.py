"""The test kit: one table of tolerances, and one helper that compares a function with its oracle."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phlox.nn.functional.kernels._kernels import reference_forms

# (relative, absolute) by dtype, for values and for gradients. A local override says why.
TOLERANCE: dict[str, dict[str, tuple[float, float]]] = {
    "float64": {"value": (1e-10, 1e-10), "grad": (1e-9, 1e-9)},
    "float32": {"value": (1e-5, 2e-6), "grad": (1e-4, 1e-5)},
    "bfloat16": {"value": (2e-2, 2e-2), "grad": (5e-2, 5e-2)},
    "float16": {"value": (3e-3, 3e-3), "grad": (1e-2, 1e-2)},
    "complex64": {"value": (1e-5, 2e-6), "grad": (1e-4, 1e-5)},
}


# What a process of its own needs to compile as users do; see ``conftest`` for what the tests leave out.
AS_USERS_COMPILE = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0", "XLA_FLAGS": ""}


@contextmanager
def compiled_as_users_do() -> Iterator[None]:
    """With the compiler's every pass: for what runs long, or where each digit counts."""
    was = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", was)


def oracle(module: str) -> Any:
    """Import an oracle; where it is missing, skip (an error when CI is set, so nothing goes unseen)."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        if os.environ.get("CI"):
            raise ModuleNotFoundError(f"the oracle {module!r} must be installed in CI")
        pytest.skip(f"oracle {module} is not installed", allow_module_level=True)
    return importlib.import_module(module)


def assert_close(ours: Any, theirs: Any, *, kind: str = "value", scale: float = 1.0, what: str = "") -> None:
    """Assert equal shapes, and values within the table's tolerance for the dtype of ``ours``."""
    dtype = str(jnp.asarray(ours).dtype) if not hasattr(ours, "dtype") else str(ours.dtype)
    ours = np.asarray(jnp.asarray(ours).astype(jnp.float32) if dtype in ("bfloat16", "float16") else ours)
    theirs = np.asarray(theirs)
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape} against the oracle's {theirs.shape}"
    rtol, atol = TOLERANCE.get(dtype, {"value": (0.0, 0.0), "grad": (0.0, 0.0)})[kind]
    np.testing.assert_allclose(ours, theirs, rtol=rtol * scale, atol=atol * scale, err_msg=what)


def to_numpy(t: Any) -> np.ndarray:
    """A torch tensor, detached, as NumPy."""
    return t.detach().cpu().numpy()


def against_torch(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    *arrays: np.ndarray,
    grad: bool | Sequence[int] = True,
    scale: float = 1.0,
    seed: int = 0,
) -> None:
    """Compare value, shape and the gradient of every floating argument with PyTorch.

    ``ours`` takes JAX arrays and ``theirs`` torch tensors of the same values; a layout difference is
    bridged inside ``theirs``. The gradient is that of ``sum(output * w)`` with a fixed random ``w``,
    so that a transposed or permuted gradient cannot hide.
    """
    torch = oracle("torch")
    tensors = [torch.tensor(a, requires_grad=np.issubdtype(a.dtype, np.floating)) for a in arrays]
    want = theirs(*tensors)
    floats = [i for i, a in enumerate(arrays) if np.issubdtype(a.dtype, np.floating)]
    which = [] if grad is False else floats if grad is True else list(grad)

    @jax.jit  # one program compiles in the time of two or three operations
    def value_and_gradients(*arrays: jax.Array) -> tuple[jax.Array, Sequence[jax.Array]]:
        def loss(*arrays: jax.Array) -> tuple[jax.Array, jax.Array]:
            y = ours(*arrays)
            return jnp.sum(y * _weights(y, seed)), y

        if not which:
            return ours(*arrays), ()
        grads, y = jax.grad(loss, tuple(which), has_aux=True)(*arrays)
        return y, grads

    got, grads = value_and_gradients(*[jnp.asarray(a) for a in arrays])
    assert_close(got, to_numpy(want), scale=scale, what="value")
    if which:
        (want * torch.tensor(_weights(got, seed))).sum().backward()
    for i, g in zip(which, grads, strict=True):
        expected = tensors[i].grad
        expected = np.zeros_like(arrays[i]) if expected is None else to_numpy(expected)
        assert_close(g, expected, kind="grad", scale=scale, what=f"gradient of argument {i}")


def against_plain_forms(calls: dict[str, Callable[..., Any]], *arrays: Any, scale: float = 1.0) -> None:
    """Assert that compiled calls give with kernels what they give in plain JAX, as gradients are compared."""
    for name, call in calls.items():
        ours = jax.jit(call)(*arrays)
        with reference_forms():
            theirs = jax.jit(call)(*arrays)
        for a, r in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            assert_close(a, r, kind="grad", scale=scale, what=name)


def _weights(y: Any, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=y.shape).astype(y.dtype)
