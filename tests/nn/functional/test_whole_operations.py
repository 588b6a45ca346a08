"""Operations traced whole: the same numbers, by the one operation of JAX that each is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phlox.nn import functional as F
from phlox.nn import whole_operations

KEY = jax.random.key(0)
X = np.asarray(jax.random.normal(KEY, (2, 7, 6, 4)))
CASES: dict[str, tuple[Callable[..., Any], tuple[int, ...], str]] = {
    "pointwise, strided": (lambda x, w: F.conv(x, w, stride=2), (1, 1, 4, 3), "conv_general_dilated"),
    "grouped": (lambda x, w: F.conv(x, w, padding=1, groups=2), (3, 3, 2, 6), "conv_general_dilated"),
    "each channel": (lambda x, w: F.conv(x, w, stride=(2, 1), groups=4), (3, 2, 1, 4), "conv_general_dilated"),
    "transposed, side by side": (lambda x, w: F.conv_transpose(x, w, stride=2), (2, 2, 4, 3), "conv_general_dilated"),
    "largest": (lambda x, w: F.max_pool(x, 3, stride=2, padding=1), (1,), "reduce_window_max"),
    "largest, dilated": (lambda x, w: F.max_pool(x, 2, stride=1, dilation=2), (1,), "reduce_window_max"),
    "largest of whole numbers": (lambda x, w: F.max_pool(x.astype(int), 2, ceil_mode=True), (1,), "reduce_window_max"),
    "mean": (lambda x, w: F.mean_pool(x, 3, stride=2, padding=1), (1,), "reduce_window_sum"),
    "mean without padding": (
        lambda x, w: F.mean_pool(x, 2, padding=1, count_include_pad=False), (1,), "reduce_window_sum"
    ),
}  # fmt: skip


def kinds(f: Callable[..., Any], *arrays: Any) -> list[str]:
    """The operations of a program that do arithmetic on windows."""
    found = [e.primitive.name for e in jax.make_jaxpr(f)(*arrays).jaxpr.eqns]
    return [k for k in found if k.startswith(("conv_general", "reduce_window", "dot_general", "phlox"))]


@pytest.mark.parametrize("name", CASES)
def test_an_operation_is_one_and_gives_the_same(name: str) -> None:
    f, shape, operation = CASES[name]
    w = np.asarray(jax.random.normal(jax.random.fold_in(KEY, 1), shape))
    expected = jax.jit(f)(X, w)
    with whole_operations():
        assert kinds(f, X, w) == [operation]
        got = jax.jit(f)(X, w)
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_the_block_ends() -> None:
    with whole_operations():
        pass
    w = jnp.ones((1, 1, 4, 3))
    assert "conv_general_dilated" not in kinds(CASES["pointwise, strided"][0], X, w)
