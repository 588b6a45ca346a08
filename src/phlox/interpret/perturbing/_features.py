"""Which numbers of a row belong to one feature: each by itself, or groups such as superpixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, ShapeError, describe
from phlox.interpret.asking._trees import is_floating


@dataclass(frozen=True)
class Features:
    """Features of a row."""

    ids: Any
    """A tree like a row: of each number, which feature it belongs to, from 0."""
    count: int
    dtype: Any
    """Of the numbers that values are given in."""

    def spread(self, found: Any) -> Any:
        """(rows, features) → a tree (rows, …): each number has its feature's value."""
        found = jnp.asarray(found, self.dtype)
        return jax.tree.map(lambda i: found[:, i], self.ids)


def features_of(feature_mask: Any, z: Any, where: str) -> Features:
    """Features by a tree of integers, the same where numbers belong together; every number by itself for None.

    Raises:
        ShapeError: a mask that does not spread to a row.
        RangeError: a mask without integers.
    """
    leaves, form = jax.tree.flatten(z)
    dtype = jnp.result_type(*([v.dtype for v in leaves if is_floating(v)] or [jnp.float32]))
    if feature_mask is None:
        ends = np.cumsum([0, *(int(np.prod(v.shape[1:])) for v in leaves)])
        ids = [np.arange(a, b).reshape(v.shape[1:]) for a, b, v in zip(ends, ends[1:], leaves, strict=False)]
        return Features(form.unflatten(ids), int(ends[-1]), dtype)
    given, form_given = jax.tree.flatten(feature_mask)
    if form_given != form:
        fix = "give each leaf integers, the same where numbers belong together"
        raise ShapeError("feature_mask= like the input", got=describe(feature_mask), fix=fix, where=where)
    spread = [_spread(np.asarray(m), v, where) for m, v in zip(given, leaves, strict=True)]
    known, flat = np.unique(np.concatenate([m.ravel() for m in spread]), return_inverse=True)
    cuts = np.cumsum([m.size for m in spread])[:-1]
    ids = [part.reshape(m.shape) for part, m in zip(np.split(flat.ravel(), cuts), spread, strict=True)]
    return Features(form.unflatten(ids), len(known), dtype)


def _spread(mask: Any, v: Any, where: str) -> Any:
    row = v.shape[1:]
    if not np.issubdtype(mask.dtype, np.integer):
        fix = "number features from 0"
        raise RangeError("feature_mask= of integers", got=str(mask.dtype), fix=fix, where=where)
    shape = mask.shape
    if mask.ndim == v.ndim and shape[0] == 1:
        mask = mask[0]
    try:
        return np.broadcast_to(mask, row)
    except ValueError:
        fix = "one row's axes; an axis of size 1 stands for all"
        raise ShapeError(f"feature_mask= that spreads to a row {row}", got=f"shape {shape}", fix=fix,
                         where=where) from None  # fmt: skip
