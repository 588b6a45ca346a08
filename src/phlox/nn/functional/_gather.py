"""Gathering rows by index, and scattering them back with a reduction."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from phlox.core import DtypeError, RangeError, ShapeError, answering, describe
from phlox.nn.functional._numeric import copied, real, widen
from phlox.nn.functional.space._pool import lowest
from phlox.nn.functional.space._window import is_int

__all__ = [
    "gather",
    "scatter",
    "segment_max",
    "segment_mean",
    "segment_min",
    "segment_prod",
    "segment_softmax",
    "segment_sum",
]

Index = jax.Array | np.ndarray | Sequence[int] | tuple[jax.Array | np.ndarray, ...]

_OPS = ("+", "-", "*", "/", "max", "min", "mean")


@answering
def gather(x: jax.Array, index: Index) -> jax.Array:
    """Take the rows of ``x`` that an index names.

    Formula: ``y[k] = x[index[k]]``, or ``x[i[k], j[k], …]`` for a tuple of indices.

    Shapes: ``x`` (rows, *rest), ``index`` (*k) → (*k, *rest); a tuple of r indices takes the place of r leading axes.

    Arguments:
        index: integers; negative ones count from the end, and what lies beyond the ends gives NaN (for integers,
            the dtype's extreme value).

    Raises:
        DtypeError: the index is not made of integers.
        ShapeError: ``x`` has fewer axes than there are indices, or these differ in shape.

    >>> gather(jnp.array([10.0, 20.0, 30.0]), jnp.array([2, 0, 2])).tolist()
    [30.0, 10.0, 30.0]

    Source: the transpose of :func:`scatter` with ``"+"``.
    """
    x, indices = jnp.asarray(x), _indices(index, "gather")
    if x.ndim < len(indices):
        raise ShapeError(
            f"at least {len(indices)} axes, one per index", got=describe(x), fix="give fewer indices", where="gather"
        )
    return copied(lambda v, *at: v.at[at].get(mode="fill"), x, *indices)


@answering
def scatter(
    values: jax.Array,
    index: Index,
    op: str = "+",
    *,
    size: int | tuple[int, ...] | None = None,
    into: jax.Array | None = None,
) -> jax.Array:
    """Reduce the values that share an index, into a new array or on top of a given one.

    Formula: ``y[i] = into[i] ∘ reduce(op, [values[k] for k where index[k] = i])``. Where no value goes, ``into`` stays;
    without it ``y`` is 0 for ``+``, ``-`` and ``mean``, 1 for ``*`` and ``/``, and the dtype's lowest or highest value
    (-inf, inf) for ``max`` and ``min``. ``mean`` adds the mean of the values to ``into``.

    Shapes: ``values`` (*k, *rest), ``index`` (*k) → (size, *rest); a tuple of r indices names places in r leading axes.

    Arguments:
        index: integers; negative ones count from the end, and what lies beyond the ends is dropped.
        op: ``"+"``, ``"-"``, ``"*"``, ``"/"``, ``"max"``, ``"min"`` or ``"mean"``. Sums and products are formed in
            float32 at least. The gradient of a product is right at zeros too; equal extremes share theirs evenly.
        size: leading size of the result, a tuple where the index is one. Give this or ``into``.
        into: (size, *rest), what is reduced into.

    Raises:
        RangeError: an unknown op, both or neither of ``size`` and ``into``, or a size below 0.
        DtypeError: the index is not made of integers.
        ShapeError: ``values``, ``index`` and ``into`` do not fit together.

    >>> scatter(jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 2, 0]), size=3).tolist()
    [4.0, 0.0, 2.0]
    >>> scatter(jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 2, 0]), "max", into=jnp.zeros(3)).tolist()
    [3.0, 0.0, 2.0]

    Source: Gilmer et al. 2017, Neural message passing (arXiv:1704.01212), where it gathers the messages of a graph.
    """
    where = "scatter"
    values, indices = jnp.asarray(values), _indices(index, where)
    if op not in _OPS:
        raise RangeError(f"op as one of {_OPS}", got=repr(op), fix="use one of them", where=where)
    shape = indices[0].shape
    if values.shape[: len(shape)] != shape:
        raise ShapeError(
            f"values whose leading axes are those of the index, {shape}",
            got=describe(values),
            fix="give one value, or row of values, per index",
            where=where,
        )
    rest = values.shape[len(shape) :]
    into = _target(values, indices, op, size, into, rest)
    dtype = jnp.result_type(values, into)
    if op in ("/", "mean") and not jnp.issubdtype(dtype, jnp.inexact):
        dtype = jnp.result_type(dtype, jnp.float32)
    wide = jnp.promote_types(dtype, jnp.float32) if jnp.issubdtype(dtype, jnp.inexact) else dtype
    return _reduce(into.astype(wide), indices, values.astype(wide), op).astype(dtype)


@answering
def segment_sum(values: jax.Array, segments: Index, num_segments: int) -> jax.Array:
    """Sum the rows of each segment; an empty one is 0.

    Formula: ``y[s] = Σ_{k: segments[k] = s} values[k]``, as :func:`scatter` with ``"+"``.

    Shapes: ``values`` (rows, *rest), ``segments`` (rows,) in any order → (num_segments, *rest).

    Arguments and errors: as :func:`scatter`.

    >>> segment_sum(jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 0, 1]), 2).tolist()
    [3.0, 3.0]

    Source: the same reduction as ``jax.ops.segment_sum``.
    """
    return scatter(values, segments, "+", size=num_segments)


@answering
def segment_mean(values: jax.Array, segments: Index, num_segments: int) -> jax.Array:
    """Average the rows of each segment; an empty one is 0.

    Formula: ``y[s] = mean_{k: segments[k] = s} values[k]``, as :func:`scatter` with ``"mean"``.

    Shapes, arguments, errors: as :func:`segment_sum`.

    >>> segment_mean(jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 0, 1]), 2).tolist()
    [1.5, 3.0]

    Source: :func:`segment_sum` over the count.
    """
    return scatter(values, segments, "mean", size=num_segments)


@answering
def segment_max(values: jax.Array, segments: Index, num_segments: int) -> jax.Array:
    """Take the largest of each segment; an empty one is the dtype's lowest value (-inf).

    Formula: ``y[s] = max_{k: segments[k] = s} values[k]``, as :func:`scatter` with ``"max"``.

    Shapes, arguments, errors: as :func:`segment_sum`.

    >>> segment_max(jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 0, 1]), 2).tolist()
    [2.0, 3.0]

    Source: the same reduction as ``jax.ops.segment_max``.
    """
    return scatter(values, segments, "max", size=num_segments)


@answering
def segment_min(values: jax.Array, segments: Index, num_segments: int) -> jax.Array:
    """Take the smallest of each segment; an empty one is the dtype's highest value (inf).

    Formula: ``y[s] = min_{k: segments[k] = s} values[k]``, as :func:`scatter` with ``"min"``.

    Shapes, arguments, errors: as :func:`segment_sum`.

    >>> segment_min(jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 0, 1]), 2).tolist()
    [1.0, 3.0]

    Source: the same reduction as ``jax.ops.segment_min``.
    """
    return scatter(values, segments, "min", size=num_segments)


@answering
def segment_prod(values: jax.Array, segments: Index, num_segments: int) -> jax.Array:
    """Multiply the rows of each segment; an empty one is 1.

    Formula: ``y[s] = Π_{k: segments[k] = s} values[k]``, as :func:`scatter` with ``"*"``.

    Shapes, arguments, errors: as :func:`segment_sum`.

    >>> segment_prod(jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 0, 1]), 2).tolist()
    [2.0, 3.0]

    Source: the same reduction as ``jax.ops.segment_prod``.
    """
    return scatter(values, segments, "*", size=num_segments)


@answering
def segment_softmax(values: jax.Array, segments: Index, num_segments: int) -> jax.Array:
    """Turn the scores of each segment into probabilities, as attention over the edges into each node of a graph.

    Formula: ``y[k] = exp(values[k]) / Σ_{j: segments[j] = segments[k]} exp(values[j])``, shifted by the segment's
    maximum and summed in float32 at least. A segment of minus infinities alone gives 0; one with an infinity gives NaN.

    Shapes: ``values`` (n, ...), real; ``segments`` (n,) → as ``values``; a row outside the segments gives 0.

    Arguments and errors: as :func:`segment_sum`.

    >>> segment_softmax(jnp.array([0.0, 0.0, 5.0]), jnp.array([0, 0, 1]), 2).tolist()
    [0.5, 0.5, 1.0]

    Source: Veličković et al., "Graph attention networks" (arXiv:1710.10903).
    """
    array = real(values, "segment_softmax")
    wide, (index,) = widen(array), _indices(segments, "segment_softmax")
    top = segment_max(lax.stop_gradient(wide), index, num_segments)
    top = jnp.where(jnp.isneginf(top), 0.0, top)
    inside = ((index >= -num_segments) & (index < num_segments)).reshape(-1, *[1] * (wide.ndim - 1))
    powers = jnp.where(inside, jnp.exp(wide - top[index]), 0.0)
    total = segment_sum(powers, index, num_segments)
    return (powers / jnp.where(total == 0.0, 1.0, total)[index]).astype(array.dtype)


def _indices(index: Any, where: str) -> tuple[jax.Array, ...]:
    """One index array per leading axis, all of one shape."""
    several = isinstance(index, tuple) and len(index) > 0 and not all(map(is_int, index))
    indices = tuple(map(jnp.asarray, index)) if several else (jnp.asarray(index),)
    for i in indices:
        if not jnp.issubdtype(i.dtype, jnp.integer):
            raise DtypeError("integer indices", got=describe(i), fix="cast the index (or use a mask)", where=where)
        if i.shape != indices[0].shape:
            raise ShapeError(
                f"indices of one shape, {indices[0].shape}", got=describe(i), fix="broadcast them first", where=where
            )
    return indices


def _target(
    values: jax.Array, indices: tuple[jax.Array, ...], op: str, size: Any, into: Any, rest: tuple[int, ...]
) -> jax.Array:
    """What the values are reduced into: the given array, or the op's neutral element."""
    where = "scatter"
    if (size is None) == (into is None):
        got = "neither" if size is None else "both"
        raise RangeError("one of size and into", got=got, fix="give size=number of results", where=where)
    if into is not None:
        into = jnp.asarray(into)
        if into.ndim != len(indices) + len(rest) or into.shape[len(indices) :] != rest:
            raise ShapeError(
                f"into with {len(indices)} leading axes before {rest}, as the values {describe(values)} have",
                got=describe(into),
                fix="match the trailing axes of into and values",
                where=where,
            )
        return into
    sizes = (size,) if is_int(size) else size
    if not isinstance(sizes, tuple) or len(sizes) != len(indices) or not all(is_int(n) and n >= 0 for n in sizes):
        raise RangeError(
            f"size as {len(indices)} of at least 0, one per index", got=repr(size), fix="give size=rows", where=where
        )
    return jnp.full((*sizes, *rest), _neutral(op, values.dtype), values.dtype)


def _neutral(op: str, dtype: Any) -> Any:
    if op == "max":
        return lowest(dtype)
    if op == "min":
        if dtype == jnp.bool_:
            return True
        return np.inf if jnp.issubdtype(dtype, jnp.inexact) else jnp.iinfo(dtype).max
    return 1 if op in "*/" else 0


def _reduce(into: jax.Array, index: tuple[jax.Array, ...], values: jax.Array, op: str) -> jax.Array:
    differentiable = jnp.issubdtype(into.dtype, jnp.inexact)
    if op == "+":
        return into.at[index].add(values)
    if op == "-":
        return into - jnp.zeros_like(into).at[index].add(values)
    if op == "*":
        return _product(into, index, values) if differentiable else into.at[index].multiply(values)
    if op == "/":
        return into / _product(jnp.ones_like(into), index, values)
    if op == "mean":
        total = jnp.zeros_like(into).at[index].add(values)
        return into + total / jnp.maximum(_count(into, index, jnp.ones(values.shape, bool)), 1)
    return _extreme(into, index, values, op) if differentiable else getattr(into.at[index], op)(values)


def _count(into: jax.Array, index: tuple[jax.Array, ...], which: jax.Array) -> jax.Array:
    """How many of ``which`` go to each place, in the real dtype of ``into``."""
    dtype = jnp.finfo(into.dtype).dtype
    return jnp.zeros(into.shape, dtype).at[index].add(which.astype(dtype))


@jax.custom_jvp
def _product(into: jax.Array, index: tuple[jax.Array, ...], values: jax.Array) -> jax.Array:
    return into.at[index].multiply(values)


@_product.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    into, index, values = primals
    others = _product_of_others(into, index, values)
    tangent = _product(jnp.ones_like(into), index, values) * tangents[0]
    return _product(into, index, values), tangent.at[index].add(others * tangents[2])


def _product_of_others(into: jax.Array, index: tuple[jax.Array, ...], values: jax.Array) -> jax.Array:
    """The derivative of a product by each value, formed without division, so that zeros need no special case.

    Sorted by index, the others are those before it and those after it in its run: two scans that restart.
    """
    if values.size == 0:
        return values
    rows, outside = jnp.zeros(index[0].shape, jnp.int32), jnp.zeros(index[0].shape, bool)
    for i, n in zip(index, into.shape, strict=False):
        rows, outside = rows * n + jnp.where(i < 0, i + n, i), outside | (i < -n) | (i >= n)
    rows = jnp.where(outside, -1, rows).ravel()
    order = jnp.argsort(rows)
    rows, v = rows[order], values.reshape(rows.size, -1)[order]
    edge, change = jnp.ones((1, 1), bool), (rows[1:] != rows[:-1])[:, None]
    first, last = jnp.concatenate([edge, change]), jnp.concatenate([change, edge])
    before = _run_products(jnp.where(first, 1, jnp.roll(v, 1, 0)), first)
    after = _run_products(jnp.where(last, 1, jnp.roll(v, -1, 0))[::-1], last[::-1])[::-1]
    others = (before * after)[jnp.argsort(order)].reshape(values.shape)
    return others * into.at[index].get(mode="fill", fill_value=0)


def _run_products(v: jax.Array, restart: jax.Array) -> jax.Array:
    """Cumulative products down the rows that begin anew at each restart."""
    return lax.associative_scan(_join_runs, (v, jnp.broadcast_to(restart, v.shape)))[0]


def _join_runs(left: tuple[jax.Array, jax.Array], right: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    return jnp.where(right[1], right[0], left[0] * right[0]), left[1] | right[1]


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _extreme(into: jax.Array, index: tuple[jax.Array, ...], values: jax.Array, op: str) -> jax.Array:
    return getattr(into.at[index], op)(values)


@_extreme.defjvp
def _(op: str, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    into, index, values = primals
    y = _extreme(into, index, values, op)
    kept, won = into == y, values == y.at[index].get(mode="fill")
    winners = kept + _count(into, index, won)
    tangent = jnp.where(kept, tangents[0], 0).at[index].add(jnp.where(won, tangents[2], 0))
    return y, tangent / jnp.maximum(winners, 1)
