"""Class targets, as integers or as probabilities, and the weights of classes."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from phlox.core import DtypeError, RangeError, ShapeError, describe
from phlox.losses._reduce import concrete, real

IGNORE = -100


class ClassIndex(NamedTuple):
    """Integer classes of shape (...,): a safe index, where it counts, and where it names a class."""

    at: jax.Array
    keep: jax.Array
    valid: jax.Array

    def pick(self, values: jax.Array) -> jax.Array:
        """Return (...,) from (..., classes): the value at the target; NaN where there is no such class."""
        picked = jnp.take_along_axis(values, self.at[..., None], axis=-1)[..., 0]
        return jnp.where(self.valid | ~self.keep, picked, jnp.nan)


def class_targets(
    scores: jax.Array, targets: ArrayLike, where: str, *, ignore_index: int | None = None, name: str = "logits"
) -> ClassIndex | jax.Array:
    """Read targets beside (..., classes) scores: integers (...,) or one-hot and probabilities (..., classes)."""
    t = real(targets, "targets", where)
    if scores.ndim == 0 or scores.shape[-1] == 0:
        fix = "put the class axis last."
        raise ShapeError(f"{name} of shape (..., classes)", got=describe(scores), fix=fix, where=where)
    if t.shape == scores.shape:
        if ignore_index is not None and ignore_index != IGNORE:
            fix = "use weight=, or integer targets."
            raise RangeError("ignore_index only beside integer targets", got=describe(t), fix=fix, where=where)
        return t.astype(scores.dtype)
    if t.shape != scores.shape[:-1]:
        raise ShapeError(
            f"integer targets {list(scores.shape[:-1])} or one-hot targets {list(scores.shape)} "
            f"beside {name} {describe(scores)}",
            got=describe(t),
            fix="put the class axis last in the prediction, and drop size-1 axes from integer targets.",
            where=where,
        )
    return class_index(t, scores.shape[-1], where, ignore_index=ignore_index)


def class_index(targets: jax.Array, classes: int, where: str, *, ignore_index: int | None) -> ClassIndex:
    """Check integer classes (...,) and make them safe to index with."""
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        fix = "convert with .astype(int), or give one probability per class."
        raise DtypeError("integer classes", got=describe(targets), fix=fix, where=where)
    known = concrete(targets)
    if known is not None:
        bad = known[((known < 0) | (known >= classes)) & (known != ignore_index if ignore_index is not None else True)]
        if bad.size:
            ignoring = "" if ignore_index is None else f" or ignore_index={ignore_index}"
            raise RangeError(
                f"targets in 0 … {classes - 1}{ignoring}",
                got=f"{describe(known)} with {bad.flat[0]}",
                fix="count classes from 0, and give the prediction one score per class.",
                where=where,
            )
    valid = (targets >= 0) & (targets < classes)
    keep = jnp.ones_like(valid) if ignore_index is None else targets != ignore_index
    return ClassIndex(jnp.where(valid & keep, targets, 0), keep, valid)


def class_weights(weight: ArrayLike | None, classes: int, dtype: np.dtype, where: str) -> jax.Array | None:
    """Return weights of shape (classes,), or None."""
    if weight is None:
        return None
    w = real(weight, "class_weight", where)
    if w.shape != (classes,):
        fix = "give one weight per class."
        raise ShapeError(f"class_weight of shape ({classes},)", got=describe(w), fix=fix, where=where)
    return w.astype(dtype)
