"""Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from phlox.core import Module, State, advance, harmonise, key_or_draw
from phlox.nn import functional as F
from phlox.nn._checks import check_probability
from phlox.nn._fused import fused


class Dropout(Module):
    r"""Zero each element with probability p in training and enlarge the others, $y = x b / (1 - p)$.

    The layer owns a random key as State and advances it, so a run repeats from its seed and resumes exactly.

    Shapes:
        x, y: any.

    Arguments:
        p: probability of a zero, in [0, 1].
        axis: the axes along which the mask varies; it is shared along the others. None is all.
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: p outside [0, 1].

    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.

    >>> import jax.numpy as jnp, phlox as px
    >>> drop = px.Dropout(0.5, key=0)
    >>> drop(jnp.ones(4)).tolist(), sorted(set(px.trainmode(drop)(jnp.ones(100)).tolist()))
    ([1.0, 1.0, 1.0, 1.0], [0.0, 2.0])
    """

    key: State  # () typed random key

    def __init__(self, p: float = 0.5, *, axis: int | Sequence[int] | None = None, key: Any = None):
        self.p: float = check_probability("Dropout", "p", p)
        self.axis: int | tuple[int, ...] | None = axis if axis is None or isinstance(axis, int) else tuple(axis)
        self.key = key_or_draw(key)

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        if not self.training or self.p == 0:
            return x
        return _drop(F.identity, advance(self), x, p=self.p, axis=self.axis)

    def _brief(self) -> str:
        return f"Dropout({self.p:g})"


@fused("p", "axis")
def _drop(act: Any, key: jax.Array, x: jax.Array, *, p: float, axis: Any) -> jax.Array:
    return act(F.dropout(key, x, p, axis=axis))
