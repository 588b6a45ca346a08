"""Kinds of dropout: for SELU networks, of whole examples, and with one mask along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from phlox.core import Module, RangeError, ShapeError, State, advance, describe, harmonise, key_or_draw
from phlox.nn import functional as F
from phlox.nn._checks import check_probability
from phlox.nn._fused import fused


class AlphaDropout(Module):
    r"""Dropout for SELU networks, which keeps mean 0 and variance 1: $y = a (x b + s (1 - b)) + c$.

    Each b is 0 with probability p; s is SELU's limit -1.7581, $a = ((1 - p)(1 + p s^2))^{-1/2}$ and $c = -a p s$. In
    inference y = x. The layer owns a random key as State and advances it.

    Shapes:
        x, y: any.

    Arguments:
        p: probability of a drop, in [0, 1].
        axis: the axes along which the mask varies; it is shared along the others. None is all.
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: p outside [0, 1].

    Source: Klambauer et al., "Self-normalizing neural networks", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> drop = px.trainmode(px.nn.AlphaDropout(0.5, key=0))
    >>> sorted({round(v, 4) for v in drop(jnp.zeros(100)).tolist()})
    [-0.7792, 0.7792]
    """

    key: State  # () typed random key

    def __init__(self, p: float = 0.5, *, axis: int | Sequence[int] | None = None, key: Any = None):
        self.p: float = check_probability("AlphaDropout", "p", p)
        self.axis: int | tuple[int, ...] | None = axis if axis is None or isinstance(axis, int) else tuple(axis)
        self.key = key_or_draw(key)

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        if not self.training or self.p == 0:
            return x
        return _alpha(F.identity, advance(self), x, p=self.p, axis=self.axis)

    def _brief(self) -> str:
        return f"AlphaDropout({self.p:g})"


@fused("p", "axis")
def _alpha(act: Any, key: Any, x: Any, *, p: float, axis: Any) -> jax.Array:
    return act(F.alpha_dropout(key, x, p, axis=axis))


class FeatureAlphaDropout(Module):
    r"""``AlphaDropout`` of whole channels: one draw for each example and channel.

    Shapes:
        x, y: (batch, *space, channels).

    Arguments:
        p: probability of a drop, in [0, 1].
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: p outside [0, 1].
        ShapeError: an input without batch and channel axes.

    Source: Klambauer et al., "Self-normalizing neural networks", 2017; Tompson et al., 2015, over channels.

    >>> import jax.numpy as jnp, phlox as px
    >>> y = px.trainmode(px.nn.FeatureAlphaDropout(0.5, key=0))(jnp.zeros((4, 9, 2)))
    >>> bool((y == y[:, :1]).all())
    True
    """

    key: State  # () typed random key
    p: float

    def __init__(self, p: float = 0.5, *, key: Any = None):
        self.p, self.key = check_probability("FeatureAlphaDropout", "p", p), key_or_draw(key)

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        if x.ndim < 2:
            raise ShapeError("(batch, ..., channels)", got=describe(x), fix="add a batch axis: x[None]")
        if not self.training or self.p == 0:
            return x
        return _feature_alpha(F.identity, advance(self), x, p=self.p)

    def _brief(self) -> str:
        return f"FeatureAlphaDropout({self.p:g})"


@fused("p")
def _feature_alpha(act: Any, key: Any, x: Any, *, p: float) -> jax.Array:
    return act(F.feature_alpha_dropout(key, x, p))


class DropPath(Module):
    r"""Stochastic depth: zero whole examples with probability p in training, $y = x b / (1 - p)$.

    It stands at the end of a branch whose result is added to a shortcut, which then skips the branch.

    Shapes:
        x, y: (batch, ...).

    Arguments:
        p: probability that an example is zeroed, in [0, 1].
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: p outside [0, 1].
        ShapeError: an input without a batch axis.

    Source: Huang et al., "Deep networks with stochastic depth", 2016.

    >>> import jax.numpy as jnp, phlox as px
    >>> y = px.trainmode(px.nn.DropPath(0.5, key=0))(jnp.ones((50, 3)))
    >>> sorted({tuple(row) for row in y.tolist()})
    [(0.0, 0.0, 0.0), (2.0, 2.0, 2.0)]
    """

    key: State  # () typed random key
    p: float

    def __init__(self, p: float = 0.1, *, key: Any = None):
        self.p, self.key = check_probability("DropPath", "p", p), key_or_draw(key)

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        if x.ndim < 1:
            raise ShapeError("(batch, ...)", got=describe(x), fix="add a batch axis: x[None]")
        if not self.training or self.p == 0:
            return x
        return _drop_path(F.identity, advance(self), x, p=self.p)

    def _brief(self) -> str:
        return f"DropPath({self.p:g})"


@fused("p")
def _drop_path(act: Any, key: Any, x: Any, *, p: float) -> jax.Array:
    return act(F.drop_path(key, x, p))


class VariationalDropout(Module):
    r"""Dropout with one mask along an axis, by default time: $y = x b / (1 - p)$, b the same at every step.

    Shapes:
        x, y: any that has the axis, for example (batch, time, features).

    Arguments:
        p: probability of a zero, in [0, 1].
        axis: the axis (or axes) along which the mask is the same.
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: p outside [0, 1].
        ShapeError: an input without the axis.

    Source: Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent networks", 2016.

    >>> import jax.numpy as jnp, phlox as px
    >>> y = px.trainmode(px.nn.VariationalDropout(0.5, key=0))(jnp.ones((4, 9, 6)))
    >>> bool((y == y[:, :1]).all()), sorted(set(y.ravel().tolist()))
    (True, [0.0, 2.0])
    """

    key: State  # () typed random key

    def __init__(self, p: float = 0.5, *, axis: int | Sequence[int] = 1, key: Any = None):
        self.p: float = check_probability("VariationalDropout", "p", p)
        self.axis: int | tuple[int, ...] = axis if isinstance(axis, int) else tuple(axis)
        if self.axis == ():
            raise RangeError(
                "an axis along which the mask is the same",
                got="none",
                fix="name one, or use Dropout",
                where="VariationalDropout",
            )
        self.key = key_or_draw(key)

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        shared = (self.axis,) if isinstance(self.axis, int) else self.axis
        if not all(-x.ndim <= a < x.ndim for a in shared):
            raise ShapeError(f"an input with axis {self.axis}", got=describe(x), fix="name an axis that it has")
        if not self.training or self.p == 0:
            return x
        varies = tuple(a for a in range(x.ndim) if a not in {s % x.ndim for s in shared})
        return _drop(F.identity, advance(self), x, p=self.p, axis=varies)

    def _brief(self) -> str:
        return f"VariationalDropout({self.p:g})"


@fused("p", "axis")
def _drop(act: Any, key: Any, x: Any, *, p: float, axis: Any) -> jax.Array:
    return act(F.dropout(key, x, p, axis=axis))
