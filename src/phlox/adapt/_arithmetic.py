r"""What adapters add to a map $x W$, and what they make of its weight; never the full product $A B$ in a forward pass.

Shapes:
    W: (..., in, out), the axes before those of a window; A: (..., in, rank); B: (rank, out); magnitudes: (out,).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Linear = Callable[[Any, Any], jax.Array]
"""A map without bias: (x, weight) → y."""


class Low(NamedTuple):
    """The arrays of one low-rank adapter in a call."""

    a: Any
    b: Any
    magnitude: Any = None
    """(out,) the lengths of the weight's columns, of a DoRA; None of a LoRA."""
    dropped: Any = None
    """The input with features dropped; None where none are."""


class Change(NamedTuple):
    """What adapters do to one map."""

    lows: Sequence[Low] = ()
    ins: Sequence[Any] = ()
    """Factors of its input, (in,) each."""
    outs: Sequence[Any] = ()
    """Factors of its output, bias included, (out,) each."""


def changed(linear: Linear, x: Any, weight: Any, bias: Any, change: Change, scales: Sequence[float]) -> jax.Array:
    r"""$((x \circ l_i) (W + ΔW) + b) \circ l_o$ with $ΔW = \sum s A B$.

    Of a DoRA with lengths m, $W + ΔW$ is $\frac{m}{\|W + s A B\|} (W + s A B)$.
    """
    x = product(x, change.ins)
    plain = linear(x, weight)
    total = plain
    for low, scale in zip(change.lows, scales, strict=True):
        given = x if low.dropped is None else product(low.dropped, change.ins)
        delta = (linear(given, low.a) * scale) @ low.b
        if low.magnitude is not None:
            gain = gains(weight, low, scale)
            base = plain if low.dropped is None else linear(given, weight)
            delta = gain * delta + (gain - 1) * base
        total = total + delta.astype(total.dtype)
    return product(total if bias is None else total + bias.astype(total.dtype), change.outs)


def changed_weight(weight: Any, change: Change, scales: Sequence[float]) -> jax.Array:
    """The weight that computes what a map with its adapters does, in the weight's dtype."""
    wide = weight.astype(jnp.promote_types(weight.dtype, jnp.float32))
    total = wide
    for low, scale in zip(change.lows, scales, strict=True):
        delta = (low.a * scale) @ low.b
        if low.magnitude is not None:
            gain = gains(wide, low, scale)
            delta = gain * delta + (gain - 1) * wide
        total = total + delta
    for factors in change.ins:
        total = total * factors[:, None]
    return product(total, change.outs).astype(weight.dtype)


def gains(weight: Any, low: Low, scale: float) -> jax.Array:
    """What a DoRA multiplies the columns with: magnitudes over lengths, which are a constant for the gradient."""
    lengths = jax.lax.stop_gradient(column_lengths(weight, low.a, low.b, scale))
    return low.magnitude / jnp.where(lengths == 0, 1, lengths)


def column_lengths(weight: Any, a: Any, b: Any, scale: float) -> jax.Array:
    r"""$\|W + s A B\|$ of each column, (out,), by $\|W\|^2 + 2 s (A^T W) \cdot B + s^2 B^T (A^T A) B$."""
    weight, a, b = (x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in (weight, a, b))
    flat, tall = weight.reshape(-1, weight.shape[-1]), a.reshape(-1, a.shape[-1])
    square = jnp.sum(flat * flat, 0) + 2 * scale * jnp.sum((tall.T @ flat) * b, 0)
    square = square + scale**2 * jnp.sum(((tall.T @ tall) @ b) * b, 0)
    return jnp.sqrt(jnp.maximum(square, 0))


def product(x: Any, factors: Sequence[Any]) -> Any:
    """The features of x, (..., n), times factors (n,)."""
    for factor in factors:
        x = x * factor.astype(x.dtype)
    return x
