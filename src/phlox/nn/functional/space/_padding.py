"""Padding of the spatial axes of ``(batch, *space, channels)``."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.nn.functional.space._window import Pairs, Sizes, explicit_pairs, known, spatial_sizes

__all__ = ["pad_circular", "pad_constant", "pad_reflect", "pad_replicate", "pad_symmetric", "pad_zeros"]

PADDING_MODES = ("zeros", "reflect", "symmetric", "circular", "replicate")

Counts = Sizes | Sequence[tuple[int, int]]

# What each mode is called by NumPy, and how many more elements than the padding an axis must have.
_MODES = {
    "reflect": ("reflect", 1),
    "symmetric": ("symmetric", 0),
    "circular": ("wrap", 0),
    "replicate": ("edge", None),
}


@answering
def pad_constant(x: jax.Array, padding: Counts, value: float = 0.0) -> jax.Array:
    """Surround the spatial axes with a constant.

    Formula: ``y[i] = x[i - low]`` inside, ``value`` outside.

    Shapes: ``x`` (batch, *space, channels) → (batch, *(low + space + high), channels), 1 to 3 spatial axes.

    Arguments:
        padding: elements to add; one int, one per spatial axis, or ``(low, high)`` pairs per spatial axis.
        value: what is added, in the dtype of ``x``.

    Raises:
        RangeError: padding is negative or of another form, or an integer ``x`` cannot hold ``value``.
        ShapeError: ``x`` has not 1 to 3 spatial axes.

    >>> pad_constant(jnp.ones((1, 2, 1)), ((1, 2),), 5.0).ravel().tolist()
    [5.0, 1.0, 1.0, 5.0, 5.0]

    Source: ``numpy.pad``, mode ``constant``.
    """
    x = jnp.asarray(x)
    pairs = explicit_pairs(padding, len(spatial_sizes(x, "pad_constant")), "pad_constant")
    if isinstance(value, float) and not jnp.issubdtype(x.dtype, jnp.inexact) and not value.is_integer():
        raise RangeError(
            f"a value that {x.dtype} can hold", got=repr(value), fix="convert x first", where="pad_constant"
        )
    return lax.pad(x, jnp.asarray(value, x.dtype), [(0, 0, 0), *((lo, hi, 0) for lo, hi in pairs), (0, 0, 0)])


@answering
def pad_zeros(x: jax.Array, padding: Counts) -> jax.Array:
    """Surround the spatial axes with zeros.

    Formula: ``y[i] = x[i - low]`` inside, 0 outside.

    Shapes, arguments, errors: as :func:`pad_constant`.

    >>> pad_zeros(jnp.ones((1, 2, 1)), 1).ravel().tolist()
    [0.0, 1.0, 1.0, 0.0]

    Source: ``numpy.pad``, mode ``constant``.
    """
    x = jnp.asarray(x)
    return pad_spatial(
        x, explicit_pairs(padding, len(spatial_sizes(x, "pad_zeros")), "pad_zeros"), "zeros", "pad_zeros"
    )


@answering
def pad_reflect(x: jax.Array, padding: Counts) -> jax.Array:
    """Mirror the spatial axes at their first and last element, which is not repeated.

    Formula: ``abcd`` → ``cb|abcd|cb`` for a padding of 2.

    Shapes: as :func:`pad_constant`; each count is at most the size of its axis less one.

    Arguments:
        padding: elements to add; one int, one per spatial axis, or ``(low, high)`` pairs per spatial axis.

    Raises:
        RangeError: padding is negative or of another form.
        ShapeError: an axis is too short to be mirrored so far.

    >>> pad_reflect(jnp.arange(3.0).reshape(1, 3, 1), 2).ravel().tolist()
    [2.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0]

    Source: ``numpy.pad``, mode ``reflect``.
    """
    return _public(x, padding, "reflect")


@answering
def pad_symmetric(x: jax.Array, padding: Counts) -> jax.Array:
    """Mirror the spatial axes at their edges, so that the first and last element are repeated.

    Formula: ``abcd`` → ``ba|abcd|dc`` for a padding of 2.

    Shapes, arguments, errors: as :func:`pad_reflect`; each count is at most the size of its axis.

    >>> pad_symmetric(jnp.arange(3.0).reshape(1, 3, 1), 2).ravel().tolist()
    [1.0, 0.0, 0.0, 1.0, 2.0, 2.0, 1.0]

    Source: ``numpy.pad``, mode ``symmetric``.
    """
    return _public(x, padding, "symmetric")


@answering
def pad_circular(x: jax.Array, padding: Counts) -> jax.Array:
    """Continue the spatial axes periodically.

    Formula: ``abcd`` → ``cd|abcd|ab`` for a padding of 2.

    Shapes, arguments, errors: as :func:`pad_reflect`; each count is at most the size of its axis.

    >>> pad_circular(jnp.arange(3.0).reshape(1, 3, 1), ((2, 1),)).ravel().tolist()
    [1.0, 2.0, 0.0, 1.0, 2.0, 0.0]

    Source: ``numpy.pad``, mode ``wrap``.
    """
    return _public(x, padding, "circular")


@answering
def pad_replicate(x: jax.Array, padding: Counts) -> jax.Array:
    """Repeat the first and the last element of each spatial axis.

    Formula: ``abcd`` → ``aa|abcd|dd`` for a padding of 2.

    Shapes, arguments, errors: as :func:`pad_reflect`; the counts have no upper bound.

    >>> pad_replicate(jnp.arange(3.0).reshape(1, 3, 1), ((1, 2),)).ravel().tolist()
    [0.0, 0.0, 1.0, 2.0, 2.0, 2.0]

    Source: ``numpy.pad``, mode ``edge``.
    """
    return _public(x, padding, "replicate")


def _public(x: jax.Array, padding: Counts, mode: str) -> jax.Array:
    x, where = jnp.asarray(x), f"pad_{mode}"
    return pad_spatial(x, explicit_pairs(padding, len(spatial_sizes(x, where)), where), mode, where)


def pad_spatial(x: jax.Array, pairs: Pairs, mode: str, where: str) -> jax.Array:
    """Pad the spatial axes of ``x`` by ``pairs`` in one of the modes; what the public functions share."""
    if not any(map(any, pairs)):
        return x
    if mode == "zeros":
        return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((lo, hi, 0) for lo, hi in pairs), (0, 0, 0)])
    if mode not in _MODES:
        raise RangeError(
            'padding_mode "zeros", "reflect", "symmetric", "circular" or "replicate"',
            got=repr(mode),
            fix="use one of them",
            where=where,
        )
    name, more = _MODES[mode]
    for axis, (n, pair) in enumerate(zip(x.shape[1:-1], pairs, strict=True)):
        least = 1 if more is None else max(pair) + more
        if known(n) and any(pair) and n < least:
            raise ShapeError(
                f"at least {least} elements along spatial axis {axis} for {mode} padding {pair}",
                got=describe(x),
                fix="pad less, or with zeros",
                where=where,
            )
    return jnp.pad(x, ((0, 0), *pairs, (0, 0)), mode=name)
