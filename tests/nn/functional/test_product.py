"""Products of few rows with large weights: every derivative is that of the plain product, in float64 by NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kit import assert_close
from phlox.nn import functional as F

ROWS, IN, OUT = 16, 256, 256  # as many multiplications as make the rule its own


def draw(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape) / 16


X, W, G, DX, DW = (draw(*s, seed=i) for i, s in enumerate([(ROWS, IN), (IN, OUT), (ROWS, OUT), (ROWS, IN), (IN, OUT)]))
x, w, g, dx, dw = (jnp.asarray(a, jnp.float32) for a in (X, W, G, DX, DW))


def test_the_rule_is_in_use() -> None:
    assert ("custom_jvp" in str(jax.make_jaxpr(F.dense)(x, w))) == (jax.default_backend() == "cpu")
    assert "custom_jvp" not in str(jax.make_jaxpr(F.dense)(x[:8], w))
    assert "custom_jvp" not in str(jax.make_jaxpr(F.dense)(jnp.ones((129, IN)), w))


def test_value_and_gradients() -> None:
    y, pull = jax.vjp(F.dense, x, w)
    to_x, to_w = pull(g)
    for got, expected, what in ((y, X @ W, "y"), (to_x, G @ W.T, "gradient of x"), (to_w, X.T @ G, "gradient of w")):
        assert_close(got, expected, what=what)


@pytest.mark.parametrize("tangents", ["both", "x", "w"])
def test_tangents(tangents: str) -> None:
    if tangents == "both":
        got, expected = jax.jvp(F.dense, (x, w), (dx, dw))[1], DX @ W + X @ DW
    elif tangents == "x":
        got, expected = jax.jvp(lambda x: F.dense(x, w), (x,), (dx,))[1], DX @ W
    else:
        got, expected = jax.jvp(lambda w: F.dense(x, w), (w,), (dw,))[1], X @ DW
    assert_close(got, expected, what="tangent")


def test_second_derivatives() -> None:
    """Of f = sum((x w)^2) / 2 the derivative of its gradients x^T x w and x w w^T, along both tangents."""
    gradients = jax.grad(lambda x, w: jnp.sum(F.dense(x, w) ** 2) / 2, argnums=(0, 1))
    to_x, to_w = jax.jvp(gradients, (x, w), (dx, dw))[1]
    moved = DX @ W + X @ DW
    assert_close(to_x, moved @ W.T + X @ W @ DW.T, what="second derivative, x")
    assert_close(to_w, DX.T @ X @ W + X.T @ moved, what="second derivative, w")


def test_under_vmap() -> None:
    xs = jnp.stack([x, 2 * x])
    got = jax.vmap(jax.grad(lambda w, x: jnp.vdot(F.dense(x, w), g)), (None, 0))(w, xs)
    assert_close(got, np.stack([X.T @ G, 2 * X.T @ G]), what="gradients of w")
