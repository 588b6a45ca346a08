"""Baselines: what stands for "nothing there" in place of an input."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError, ShapeError, describe
from phlox.interpret.asking._trees import is_floating

Baselines = Any
"""A number, or a tree of arrays like the input: one row for all, or one for each row. None is 0. A leaf None leaves the
input's leaf as it is."""


def baselines_of(baselines: Baselines, x: Any, where: str, *, integers: bool = False) -> list[Any]:
    """The baselines, each a tree of arrays that spread to the input's.

    Arguments:
        baselines: a leaf may have the axes of a row, those of the input, or one more in front, for several baselines.
        x: the input.
        integers: whether a number stands for integers too; else they stay as they are.

    Raises:
        ShapeError: a leaf of another shape.
        RangeError: trees with several baselines in different numbers.
    """
    if baselines is None or isinstance(baselines, int | float):
        fill = 0 if baselines is None else baselines
        filled = lambda v: jnp.full((1, *v.shape[1:]), fill, v.dtype)  # noqa: E731
        return [jax.tree.map(lambda v: filled(v) if integers or is_floating(v) else v, x)]
    leaves, form = jax.tree.flatten(x)
    given = _leaves_like(baselines, form, where)
    fitted = [_fitted(b, v, where) for b, v in zip(given, leaves, strict=True)]
    counts = {b.shape[0] for b in fitted if b.shape[0] != 1}
    if len(counts) > 1:
        fix = "give each leaf as many"
        raise RangeError("one number of baselines", got=" and ".join(map(str, sorted(counts))), fix=fix, where=where)
    count = counts.pop() if counts else 1
    return [form.unflatten([b[i if b.shape[0] > 1 else 0] for b in fitted]) for i in range(count)]


def distribution_of(baselines: Any, x: Any, where: str) -> tuple[Any, int]:
    """Baselines drawn from data, a tree (baselines, …), and how many there are.

    Raises:
        ShapeError: rows of other shapes than the input's, or other numbers of them.
        RangeError: none.
    """
    if baselines is None or isinstance(baselines, int | float):
        fix = "pass some rows of the training data, baselines=x_train[:100]"
        raise RangeError("baselines= drawn from data", got=repr(baselines), fix=fix, where=where)
    leaves, form = jax.tree.flatten(x)
    found = [_rows_like(b, v, where) for b, v in zip(_leaves_like(baselines, form, where), leaves, strict=True)]
    counts = {len(b) for b in found}
    if len(counts) != 1 or 0 in counts:
        got = " and ".join(map(str, sorted(counts)))
        raise ShapeError("as many rows of each leaf, one at least", got=got, fix="pass rows of data", where=where)
    return form.unflatten(found), counts.pop()


def _leaves_like(baselines: Any, form: Any, where: str) -> list[Any]:
    leaves, given = jax.tree.flatten(baselines, is_leaf=lambda b: b is None)
    if len(leaves) != form.num_leaves or jax.tree.structure(given.unflatten(range(len(leaves)))) != form:
        fix = "give them the input's form; None keeps a leaf as it is"
        raise ShapeError("baselines like the input", got=describe(baselines), fix=fix, where=where)
    return leaves


def _rows_like(b: Any, v: Any, where: str) -> Any:
    b = jnp.asarray(b, v.dtype) if b is not None else jnp.zeros(())
    if b.ndim == 0 or b.shape[1:] != v.shape[1:]:
        fix = "take rows of data like the input"
        raise ShapeError(f"baselines of shape (n, {', '.join(map(str, v.shape[1:]))})", got=describe(b), fix=fix,
                         where=where)  # fmt: skip
    return b


def _fitted(b: Any, v: Any, where: str) -> Any:
    """(baselines, rows or 1, …)."""
    if b is None:
        return v[None]
    b = jnp.asarray(b, v.dtype)
    shape = b.shape
    if b.ndim == 0:
        b = jnp.full((1, 1, *v.shape[1:]), b)
    elif b.ndim == v.ndim - 1:
        b = b[None, None]
    elif b.ndim == v.ndim:
        b = b[None]
    if b.ndim != v.ndim + 1 or b.shape[2:] != v.shape[1:] or b.shape[1] not in (1, v.shape[0]) or b.shape[0] == 0:
        fix = "give a number, one row, one for each row, or several of these with one more axis in front"
        got = f"{b.dtype}{list(shape)}"
        raise ShapeError(f"a baseline for an input of shape {v.shape}", got=got, fix=fix, where=where)
    return b
