"""Dropout: noise that leaves the expectation (or, for the alpha kind, mean and variance) as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from phlox.core import answering
from phlox.nn.functional._numeric import axes_of, in_range, inexact, is_concrete, min_rank, real, widen

__all__ = ["alpha_dropout", "drop_path", "dropout", "feature_alpha_dropout", "variational_mask"]

_SELU_FLOOR = -1.7580993408473766  # the limit of SELU at minus infinity: -scale * alpha


@answering
def dropout(key: Array, x: ArrayLike, p: float | Array, *, axis: int | Sequence[int] | None = None) -> Array:
    """Zero each element with probability ``p``, and enlarge the others: ``y = x * b / (1 - p)``, b is 1 or 0.

    The mask b is drawn along ``axis`` and shared along all other axes: ``axis=(0, -1)`` drops whole
    channels of each example, ``axis=0`` whole examples. ``p=1`` gives zeros.

    Shapes:
        x: any; y: as x.

    Arguments:
        key: a JAX random key.
        p: probability of a zero, 0 to 1.
        axis: the axes along which the mask varies; None for all.

    Raises:
        RangeError: ``p`` outside [0, 1]. ShapeError: no such axis.

    >>> y = dropout(jax.random.key(0), jnp.ones(1000), 0.5)
    >>> sorted(set(y.tolist()))
    [0.0, 2.0]

    Source: Srivastava et al., "Dropout" (2014); over channels: Tompson et al. (arXiv:1411.4280).
    """
    array = inexact(x, "dropout")
    in_range("dropout", "p", p, 0.0, 1.0)
    kept = _kept("dropout", key, array, p, axis)
    if kept is None:
        return array
    return jnp.where(kept, array * _gain(p).astype(array.dtype), 0.0)


@answering
def alpha_dropout(key: Array, x: ArrayLike, p: float | Array, *, axis: int | Sequence[int] | None = None) -> Array:
    """Dropout for SELU networks, which keeps mean 0 and variance 1: ``y = a * (x * b + s * (1 - b)) + c``.

    s is SELU's limit -1.7581, ``a = ((1 - p) * (1 + p * s**2)) ** -0.5`` and ``c = -a * p * s``. ``p=1`` gives zeros.

    Shapes:
        x: any, real; y: as x.

    Arguments:
        key: a JAX random key.
        p: probability of a drop, 0 to 1.
        axis: the axes along which the mask varies; None for all.

    Raises:
        RangeError: ``p`` outside [0, 1]. ShapeError: no such axis.

    >>> y = alpha_dropout(jax.random.key(0), jnp.zeros(1000), 0.5)
    >>> [round(v, 4) for v in sorted(set(y.tolist()))]
    [-0.7792, 0.7792]

    Source: Klambauer et al., "Self-normalizing neural networks" (arXiv:1706.02515).
    """
    return _alpha("alpha_dropout", key, x, p, axis)


@answering
def feature_alpha_dropout(key: Array, x: ArrayLike, p: float | Array) -> Array:
    """``alpha_dropout`` of whole channels: one draw for each example and channel.

    Shapes:
        x: (batch, *space, channels), real; y: as x.

    Arguments and errors: as ``alpha_dropout``; ShapeError: fewer than two axes.

    >>> y = feature_alpha_dropout(jax.random.key(0), jnp.zeros((4, 9, 2)), 0.5)
    >>> bool(jnp.all(y == y[:, :1]))
    True

    Source: Klambauer et al. (arXiv:1706.02515), over channels as Tompson et al. (arXiv:1411.4280).
    """
    array = real(x, "feature_alpha_dropout")
    min_rank("feature_alpha_dropout", array, 2, "an input of shape (batch, ..., channels)")
    return _alpha("feature_alpha_dropout", key, array, p, (0, -1))


@answering
def drop_path(key: Array, x: ArrayLike, p: float | Array) -> Array:
    """Stochastic depth: zero whole examples with probability ``p``, ``y = x * b / (1 - p)``, one b per example.

    Shapes:
        x: (batch, ...); y: as x.

    Arguments:
        key: a JAX random key.
        p: probability that an example skips the branch, 0 to 1.

    Raises:
        RangeError: ``p`` outside [0, 1]. ShapeError: no batch axis.

    >>> y = drop_path(jax.random.key(0), jnp.ones((8, 3)), 0.5)
    >>> bool(jnp.all(y == y[:, :1]))
    True

    Source: Huang et al., "Deep networks with stochastic depth" (arXiv:1603.09382).
    """
    array = inexact(x, "drop_path")
    in_range("drop_path", "p", p, 0.0, 1.0)
    min_rank("drop_path", array, 1, "an input of shape (batch, ...)")
    kept = _kept("drop_path", key, array, p, 0)
    return array if kept is None else jnp.where(kept, array * _gain(p).astype(array.dtype), 0.0)


@answering
def variational_mask(key: Array, shape: Sequence[int], p: float | Array, dtype: Any = jnp.float32) -> Array:
    """Draw one dropout mask to use at every time step: 0 with probability ``p``, else ``1 / (1 - p)``.

    Shapes:
        returns ``shape``, usually (batch, features).

    Arguments:
        key: a JAX random key.
        p: probability of a zero, 0 to 1.
        dtype: dtype of the mask.

    Raises:
        RangeError: ``p`` outside [0, 1].

    >>> sorted(set(variational_mask(jax.random.key(0), (10, 10), 0.5).ravel().tolist()))
    [0.0, 2.0]

    Source: Gal & Ghahramani, "A theoretically grounded application of dropout in RNNs" (arXiv:1512.05287).
    """
    in_range("variational_mask", "p", p, 0.0, 1.0)
    return jnp.where(jax.random.bernoulli(key, 1.0 - jnp.asarray(p), tuple(shape)), _gain(p), 0.0).astype(dtype)


def _kept(name: str, key: Array, x: Array, p: float | Array, axis: int | Sequence[int] | None) -> Array | None:
    """The mask, of size 1 along shared axes; None where nothing can drop, as far as that is known now."""
    varies = range(x.ndim) if axis is None else axes_of(name, x, axis)
    if is_concrete(p) and float(p) == 0.0:
        return None
    shape = tuple(size if i in varies else 1 for i, size in enumerate(x.shape))
    return jax.random.bernoulli(key, 1.0 - jnp.asarray(p), shape)


def _gain(p: float | Array) -> Array:
    """``1 / (1 - p)``, and 0 at ``p=1``."""
    keep = 1.0 - jnp.asarray(p)
    return jnp.where(keep > 0.0, 1.0 / jnp.where(keep > 0.0, keep, 1.0), 0.0)


def _alpha(name: str, key: Array, x: ArrayLike, p: float | Array, axis: int | Sequence[int] | None) -> Array:
    array = real(x, name)
    in_range(name, "p", p, 0.0, 1.0)
    kept = _kept(name, key, array, p, axis)
    if kept is None:
        return array
    wide, drop = widen(array), jnp.asarray(p)
    scale = jnp.sqrt(_gain(p) / (1.0 + drop * _SELU_FLOOR**2))
    y = scale * (jnp.where(kept, wide, _SELU_FLOOR) - drop * _SELU_FLOOR)
    return y.astype(array.dtype)
