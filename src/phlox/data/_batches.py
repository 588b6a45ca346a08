"""Observations stacked into batches, and back; sequences of several lengths padded to one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, ShapeError, describe
from phlox.data._observations import whole


def _stacked(arrays: Sequence[Any], where: str) -> Any:
    shapes = {np.shape(a) for a in arrays}
    if len(shapes) > 1:
        got = " and ".join(map(str, sorted(shapes)[:3]))
        fix = "make them one shape; batch_sequences pads sequences"
        raise ShapeError("observations of one shape", got=got, fix=fix, where=where)
    if any(isinstance(a, bytes) for a in arrays):  # NumPy's byte strings lose the zeros at their ends
        return np.array([*arrays, None], object)[:-1]
    return jnp.stack(arrays) if any(isinstance(a, jax.Array) for a in arrays) else np.stack(arrays)


def batch(observations: Iterable[Any]) -> Any:
    """One tree of arrays with a new first axis, from observations: arrays, numbers, or trees of them.

    NumPy arrays and numbers give NumPy arrays, JAX arrays JAX arrays, byte strings NumPy arrays of objects.

    Raises:
        ShapeError: no observation; shapes or structures that differ.

    >>> import numpy as np, phlox as px
    >>> px.data.batch([{"x": np.array([1, 2]), "y": 0}, {"x": np.array([3, 4]), "y": 1}])
    {'x': array([[1, 2], [3, 4]]), 'y': array([0, 1])}
    """
    trees = list(observations)
    if not trees:
        raise ShapeError("at least one observation", got="none", fix="leave empty batches out", where="batch")
    forms = {str(jax.tree.structure(tree)) for tree in trees}
    if len(forms) > 1:
        got, fix = " and ".join(sorted(forms)[:2]), "give each observation the same parts"
        raise ShapeError("observations of one structure", got=got, fix=fix, where="batch")
    return jax.tree.map(lambda *parts: _stacked(parts, "batch"), *trees)


def unbatch(tree: Any) -> list[Any]:
    """The observations of a batch, along the first axis of its arrays; the inverse of ``batch``.

    Raises:
        ShapeError: no array, one without axes, or first axes of different sizes.

    >>> import numpy as np, phlox as px
    >>> px.data.unbatch({"x": np.array([[1, 2], [3, 4]])})
    [{'x': array([1, 2])}, {'x': array([3, 4])}]
    """
    leaves, form = jax.tree.flatten(tree)
    sizes = {np.shape(leaf)[:1] for leaf in leaves}
    if len(sizes) != 1 or () in sizes:
        got = ", ".join(describe(leaf) for leaf in leaves) or "no array"
        fix = "give arrays with the batch as first axis"
        raise ShapeError("arrays of one first axis", got=got, fix=fix, where="unbatch")
    return [jax.tree.unflatten(form, [leaf[i] for leaf in leaves]) for i in range(sizes.pop()[0])]


class Padded(NamedTuple):
    """Sequences of one length, and how much of each is real; ``mask`` says it place by place."""

    values: Any  # (batch, time, ...)
    lengths: Any  # (batch,) int32

    @property
    def mask(self) -> Any:
        """(batch, time) booleans, true where the sequence is; a metric's or a loss's ``weight``."""
        numpy = np if isinstance(self.lengths, np.ndarray) else jnp
        return numpy.arange(self.values.shape[1]) < numpy.asarray(self.lengths)[:, None]


def batch_sequences(sequences: Iterable[Any], pad: Any = 0, *, length: int | None = None, multiple: int = 1) -> Padded:
    """Sequences of several lengths as one array, padded behind, with their lengths.

    Shapes:
        sequences: each (time, ...), the same behind time; values: (batch, time, ...); lengths: (batch,).

    Arguments:
        sequences: arrays or lists.
        pad: the value to fill up with.
        length: the time of the result; by default that of the longest.
        multiple: the time is rounded up to a multiple of it, so that fewer programs are compiled.

    Raises:
        ShapeError: no sequence, or shapes that differ behind time.
        RangeError: a sequence longer than ``length``; a ``multiple`` below 1.

    >>> import phlox as px
    >>> batch, lengths = px.data.batch_sequences([[1, 2, 3], [4]], pad=-1)
    >>> batch.tolist(), lengths.tolist()
    ([[1, 2, 3], [4, -1, -1]], [3, 1])
    """
    where, arrays = "batch_sequences", [x if isinstance(x, jax.Array) else np.asarray(x) for x in sequences]
    tails = {a.shape[1:] for a in arrays}
    if len(tails) != 1 or any(a.ndim == 0 for a in arrays):
        got = ", ".join(describe(a) for a in arrays[:4]) or "none"
        fix = "give sequences of (time, ...) that differ in time only"
        raise ShapeError("sequences of one shape behind time", got=got, fix=fix, where=where)
    longest = max(len(a) for a in arrays)
    if length is not None and longest > whole(where, "length", length):
        raise RangeError(
            f"sequences of at most {length}", got=str(longest), fix="cut them, or raise length", where=where
        )
    step = whole(where, "multiple", multiple)
    time = -(-(longest if length is None else length) // step) * step
    dtype = np.result_type(*[a.dtype for a in arrays if a.size] or [arrays[0].dtype])
    values = np.full((len(arrays), time, *tails.pop()), pad, dtype)
    for row, array in zip(values, arrays, strict=True):
        row[: len(array)] = array
    lengths = np.array([len(a) for a in arrays], np.int32)
    if any(isinstance(a, jax.Array) for a in arrays):
        return Padded(jnp.asarray(values), jnp.asarray(lengths))
    return Padded(values, lengths)


def unbatch_sequences(values: Any, lengths: Any) -> list[Any]:
    """The sequences of a padded batch, each of its own length; the inverse of ``batch_sequences``.

    Raises:
        ShapeError: not one length for each sequence. RangeError: a length beyond the batch's.

    >>> import numpy as np, phlox as px
    >>> [s.tolist() for s in px.data.unbatch_sequences(np.array([[1, 2], [3, 0]]), np.array([2, 1]))]
    [[1, 2], [3]]
    """
    where, counts = "unbatch_sequences", np.asarray(lengths)
    if values.ndim < 2 or counts.shape != values.shape[:1]:
        got, fix = f"{describe(values)} and {describe(counts)}", "give one length for each row"
        raise ShapeError("values (batch, time, ...) and lengths (batch,)", got=got, fix=fix, where=where)
    if ((counts < 0) | (counts > values.shape[1])).any():
        got, fix = str(counts.tolist()[:5]), "give the lengths that batch_sequences returned"
        raise RangeError(f"lengths in 0 … {values.shape[1]}", got=got, fix=fix, where=where)
    return [row[:n] for row, n in zip(values, counts.tolist(), strict=True)]
