"""Which number of an output is meant: a class, one for each row, or a function of a row's output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, ShapeError, describe

Target = int | tuple[int, ...] | Any | Callable[[Any], Any] | None
"""A class; a tuple that indexes the axes behind rows; an array of either, one for each row; a function of one row's
output that gives a number; None for outputs that have one number a row."""


def resolved(target: Target, output: Any, rows: int, where: str, option: str) -> tuple[Any, Any]:
    """A target as (pick, index): a function of a row's output, or (rows, axes) integers, or neither.

    Arguments:
        output: the tree of types that the model gives.
        where, option: the function that speaks, and what the target is called there.

    Raises:
        ShapeError: an output that has more numbers, or fewer axes, than the target says.
        RangeError: an index outside the output.
    """
    if callable(target):
        _check_function(target, output, rows, where, option)
        return target, None
    leaves = jax.tree.leaves(output)
    if len(leaves) != 1:
        fix = f"choose a number of a row's output by a function, {option}=lambda y: y[0][3]"
        raise ShapeError("a model that gives one array", got=f"{len(leaves)} arrays", fix=fix, where=where)
    shape = leaves[0].shape
    if shape[:1] != (rows,):
        raise ShapeError(f"an output of {rows} rows", got=describe(leaves[0]), fix="put rows first", where=where)
    if target is None:
        if shape not in ((rows,), (rows, 1)):
            fix = f"say which, {option}=3, or {option}=labels, one for each row"
            raise ShapeError(
                f"{option}= where a row has several numbers", got=describe(leaves[0]), fix=fix, where=where
            )
        return None, None
    return None, _checked(_indices(target, rows, where, option), shape[1:], where, option)


def picked(y: Any, pick: Any, index: Any) -> jax.Array:
    """(rows,) the numbers of an output that a resolved target means."""
    if pick is not None:
        return jax.vmap(pick)(y)
    (y,) = jax.tree.leaves(y)
    if index is None:
        return y.reshape(y.shape[0])
    return y[(jnp.arange(y.shape[0]), *(index[:, i] for i in range(index.shape[1])))]


def _check_function(target: Any, output: Any, rows: int, where: str, option: str) -> None:
    said = jax.eval_shape(jax.vmap(target), output)
    shapes = [x.shape for x in jax.tree.leaves(said)]
    if shapes != [(rows,)]:
        got = ", ".join(describe(jax.ShapeDtypeStruct(x.shape[1:], x.dtype)) for x in jax.tree.leaves(said))
        fix = f"it sees one row, without the axis of rows: {option}=lambda y: y[3] - y[5]"
        raise ShapeError(f"{option} to give a number for a row", got=got, fix=fix, where=where)


def _indices(target: Any, rows: int, where: str, option: str) -> np.ndarray[Any, Any]:
    """(rows, axes)."""
    found = np.asarray(target)
    if not np.issubdtype(found.dtype, np.integer):
        fix = f"pass a class, {option}=3, one for each row, or a function of a row's output"
        raise RangeError(f"{option}= of integers", got=f"{found.dtype}", fix=fix, where=where)
    if found.ndim == 0 or isinstance(target, tuple):
        return np.broadcast_to(np.atleast_1d(found), (rows, max(found.size, 1)))
    if found.shape[0] != rows or found.ndim > 2:
        fix = f"pass one for each of the {rows} rows, or a tuple for all"
        raise ShapeError(f"{option}= of shape ({rows},) or ({rows}, axes)", got=describe(found), fix=fix, where=where)
    return found.reshape(rows, -1)


def _checked(index: np.ndarray[Any, Any], shape: tuple[int, ...], where: str, option: str) -> Any:
    if index.shape[1] != len(shape):
        fix = f"index all {len(shape)} axes behind rows, {option}={tuple([0] * len(shape))}"
        got = f"{index.shape[1]} for rows of shape {shape}"
        raise ShapeError(f"{option}= with an index for each axis of a row", got=got, fix=fix, where=where)
    sizes = np.asarray(shape)
    if ((index < -sizes) | (index >= sizes)).any():
        bad = index[((index < -sizes) | (index >= sizes)).any(1)][0].tolist()
        got = str(bad[0] if len(bad) == 1 else tuple(bad))
        fix = "count from 0" if len(shape) == 1 else "count from 0 on each axis"
        raise RangeError(f"{option}= inside an output of shape (rows, {', '.join(map(str, shape))})", got=got, fix=fix,
                         where=where)  # fmt: skip
    return jnp.asarray(np.where(index < 0, index + sizes, index), jnp.int32)
