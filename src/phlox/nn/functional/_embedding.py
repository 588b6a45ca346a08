"""Looking rows up in a table: one by one, and reduced over bags."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from phlox.core import DtypeError, RangeError, ShapeError, answering, describe
from phlox.nn.functional._numeric import copied, inexact, is_concrete, real, widen

__all__ = ["embedding", "embedding_bag"]


@answering
def embedding(indices: ArrayLike, table: ArrayLike, *, padding_idx: int | None = None) -> Array:
    """Look up a row for each index: ``y = table[indices]``.

    An index outside the table raises where its value is known, and gives a row of NaN inside a
    compiled function, where it is not.

    Shapes:
        indices: any, integers in [0, num); table: (num, features); y: (*indices, features).

    Arguments:
        padding_idx: the row that gets no gradient; negative counts from the end.

    Raises:
        DtypeError: indices that are not integers. RangeError: an index or ``padding_idx`` outside the table.
        ShapeError: a table that is no matrix.

    >>> embedding(jnp.array([2, 0]), jnp.array([[1.0], [2.0], [3.0]])).tolist()
    [[3.0], [1.0]]

    Source: Bengio et al., "A neural probabilistic language model" (2003).
    """
    places, rows = _indices("embedding", indices), _table("embedding", table)
    padding = _padding("embedding", padding_idx, rows.shape[0])
    _within("embedding", places, rows.shape[0])
    y = _take(rows, places)
    if padding is not None:
        y = jnp.where((places == padding)[..., None], jax.lax.stop_gradient(y), y)
    return y


@answering
def embedding_bag(
    indices: ArrayLike,
    table: ArrayLike,
    *,
    offsets: ArrayLike | None = None,
    include_last_offset: bool = False,
    segment_ids: ArrayLike | None = None,
    num_bags: int | None = None,
    weights: ArrayLike | None = None,
    mode: str = "mean",
    padding_idx: int | None = None,
) -> Array:
    """Look up rows and reduce each bag: ``y_b = sum (mean, max) over i in bag b of weight_i * table[indices_i]``.

    Bags are the rows of ``indices``, or ragged: ``offsets`` say where in flat indices each bag
    starts, or ``segment_ids`` to which bag each index belongs. An empty bag gives zeros.

    Shapes:
        indices: (bags, size), or (n,) with offsets (bags,) or segment_ids (n,); table: (num, features);
        weights: as indices; y: (bags, features).

    Arguments:
        include_last_offset: whether ``offsets``, then (bags + 1,), end with the number of indices.
        num_bags: how many bags ``segment_ids`` name.
        weights: a factor for each index, with mode "sum" only.
        mode: "sum", "mean" or "max" (the first of equal rows takes the gradient).
        padding_idx: the row that is left out of its bag, and gets no gradient; negative counts from the end.

    Raises:
        ShapeError: shapes that do not match, or ragged bags without (or with two kinds of) bounds.
        DtypeError: indices that are not integers.
        RangeError: an unknown mode, weights with another mode than "sum", an index, a ``padding_idx`` or a segment
        outside its range, offsets that do not start at 0 or that fall.

    >>> table = jnp.array([[1.0], [2.0], [4.0]])
    >>> embedding_bag(jnp.array([0, 1, 2]), table, offsets=jnp.array([0, 2]), mode="sum").tolist()
    [[3.0], [4.0]]

    Source: Joulin et al., "Bag of tricks for efficient text classification" (arXiv:1607.01759).
    """
    name = "embedding_bag"
    places, rows = _indices(name, indices), _table(name, table)
    if mode not in ("sum", "mean", "max"):
        raise RangeError('mode "sum", "mean" or "max"', got=repr(mode), fix="choose one of them", where=name)
    factors = _factors(places, weights, mode)
    if include_last_offset:
        offsets = _without_last(offsets, places)
    segments, bags = _bags(places, offsets, segment_ids, num_bags)
    _within(name, places, rows.shape[0])
    places = places.reshape(-1)
    padding = _padding(name, padding_idx, rows.shape[0])
    counted = jnp.ones(places.shape, bool) if padding is None else places != padding
    segments = jnp.where(counted, segments, bags)  # what is left out goes to a bag past the last
    values = widen(_take(rows, places))
    if mode == "max":
        y = _segment_max(values, segments, bags)
    else:
        values = values if factors is None else values * widen(factors)[:, None]
        y = jax.ops.segment_sum(values, segments, bags + 1)[:bags]
    if mode == "mean":
        count = jax.ops.segment_sum(counted.astype(y.dtype), segments, bags + 1)[:bags]
        y = y / jnp.maximum(count, 1.0)[:, None]
    return y.astype(rows.dtype)


def _segment_max(values: Array, segments: Array, bags: int) -> Array:
    """The largest of each bag and column, zeros for an empty bag; the first of equals takes the gradient."""
    count = values.shape[0]
    if count == 0:
        return jnp.zeros((bags, values.shape[1]), values.dtype)
    still = jax.lax.stop_gradient(values)
    top = jax.ops.segment_max(still, segments, bags + 1)
    wins = still == top[segments]
    place = jnp.where(wins, jnp.arange(count)[:, None], count)
    first = jax.ops.segment_min(place, segments, bags + 1)[:bags]
    empty = first >= count
    return jnp.where(empty, 0.0, jnp.take_along_axis(values, jnp.where(empty, 0, first), 0))


def _bags(
    places: Array, offsets: ArrayLike | None, segment_ids: ArrayLike | None, num_bags: int | None
) -> tuple[Array, int]:
    """The bag of each flat index, and how many bags there are."""
    name, bounds = "embedding_bag", (offsets is not None) + (segment_ids is not None)
    if places.ndim == 2 and bounds == 0:
        return jnp.repeat(jnp.arange(places.shape[0]), places.shape[1]), places.shape[0]
    if places.ndim != 1 or bounds != 1:
        fix = "pass a matrix of indices alone, or flat indices with offsets= or segment_ids="
        got = f"indices {describe(places)} with {bounds} kinds of bounds"
        raise ShapeError("indices (bags, size), or (n,) and one kind of bounds", got=got, fix=fix, where=name)
    if offsets is not None:
        return _from_offsets(_indices(name, offsets), places)
    segments = _indices(name, segment_ids)
    if segments.shape != places.shape or num_bags is None:
        fix = "pass one segment for each index, and num_bags="
        got = f"{describe(segments)} with num_bags={num_bags}"
        raise ShapeError(f"segment_ids of shape {places.shape} and num_bags", got=got, fix=fix, where=name)
    _within(name, segments, num_bags, what="segment")
    return segments, num_bags


def _without_last(offsets: ArrayLike | None, places: Array) -> ArrayLike:
    """Offsets without the last, which says how many indices there are."""
    name = "embedding_bag"
    ends = None if offsets is None else _indices(name, offsets)
    if ends is None or ends.ndim != 1 or not ends.size:
        got = "no offsets" if ends is None else describe(ends)
        fix = "pass offsets=, the starts and then the number of indices, or leave include_last_offset out"
        raise ShapeError("offsets of shape (bags + 1,) with include_last_offset", got=got, fix=fix, where=name)
    if is_concrete(ends) and int(ends[-1]) != places.size:
        fix = "end the offsets with the number of indices, or leave include_last_offset out"
        raise RangeError(f"a last offset of {places.size}", got=str(int(ends[-1])), fix=fix, where=name)
    return ends[:-1]


def _from_offsets(starts: Array, places: Array) -> tuple[Array, int]:
    if starts.ndim != 1:
        fix = "pass the start of each bag"
        raise ShapeError("offsets of shape (bags,)", got=describe(starts), fix=fix, where="embedding_bag")
    if is_concrete(starts) and starts.size:
        known = np.asarray(starts)
        if known[0] != 0 or np.any(np.diff(known) < 0) or known[-1] > places.size:
            fix = "pass the start of each bag, in order, the first one 0"
            expected = f"offsets that rise from 0 to at most {places.size}"
            raise RangeError(expected, got=str(known.tolist()[:8]), fix=fix, where="embedding_bag")
    bags = starts.shape[0]
    segments = jnp.searchsorted(starts, jnp.arange(places.shape[0]), side="right") - 1
    return segments, bags


def _factors(places: Array, weights: ArrayLike | None, mode: str) -> Array | None:
    if weights is None:
        return None
    if mode != "sum":
        fix = 'pass mode="sum"'
        raise RangeError('mode "sum" with weights', got=repr(mode), fix=fix, where="embedding_bag")
    factors = real(weights, "embedding_bag")
    if factors.shape != places.shape:
        expected, fix = f"weights of shape {places.shape}", "pass one weight for each index"
        raise ShapeError(expected, got=describe(factors), fix=fix, where="embedding_bag")
    return factors.reshape(-1)


def _take(rows: Array, places: Array) -> Array:
    # a negative index would count from the end: it is sent past the end, where "fill" gives NaN
    places = jnp.where(places < 0, rows.shape[0], places)
    return copied(lambda r, p: r.at[p].get(mode="fill", fill_value=jnp.nan), rows, places)


def _indices(name: str, indices: Any) -> Array:
    array = jnp.asarray(indices)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise DtypeError("integer indices", got=describe(array), fix="convert them with astype(int)", where=name)
    return array


def _table(name: str, table: ArrayLike) -> Array:
    rows = inexact(table, name)
    if rows.ndim != 2:
        raise ShapeError("a table of shape (num, features)", got=describe(rows), fix="pass a matrix", where=name)
    return rows


def _padding(name: str, padding_idx: int | None, num: int) -> int | None:
    if padding_idx is None:
        return None
    if not -num <= padding_idx < num:
        expected, fix = f"{-num} <= padding_idx < {num}", "choose a row of the table"
        raise RangeError(expected, got=f"padding_idx={padding_idx}", fix=fix, where=name)
    return padding_idx % num


def _within(name: str, places: Array, num: int, what: str = "index") -> None:
    if not is_concrete(places) or not places.size:
        return
    known = np.asarray(places)
    wrong = known[(known < 0) | (known >= num)]
    if wrong.size:
        fix = f"keep every {what} in the range, or enlarge it"
        raise RangeError(f"0 <= {what} < {num}", got=str(wrong[0]), fix=fix, where=name)
