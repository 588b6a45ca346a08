"""A batch as the loop sees it: its parts, whichever form it came in, and what of it is padding."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Batch(NamedTuple):
    """A batch taken apart."""

    whole: Any  # as the loss gets it where it is no tuple
    parts: tuple[Any, ...] | None  # of a tuple
    mask: Any  # (batch,) true where an example is real; None where all are

    @property
    def size(self) -> int:
        """The examples by the first axis of the first array, padding among them."""
        return leading(self.whole)

    def combined(self, weight: Any) -> Any:
        """Weights of the leading axes with padding at 0, or None where every example counts 1."""
        if self.mask is None or weight is None:
            return self.mask if weight is None else weight
        w = jnp.asarray(weight)
        return jnp.where(self.mask.reshape(self.mask.shape + (1,) * (w.ndim - 1)), w, 0)

    def count(self, weight: Any) -> Any:
        """How much the batch counts: the sum of its weights, or its size."""
        return jnp.float32(self.size) if weight is None else jnp.sum(jnp.asarray(weight), dtype=jnp.float32)


class Masked(NamedTuple):
    """A batch that was filled up, as a loader's ``masked()`` gives it."""

    batch: Any
    mask: Any  # (batch,) true where an example is real


class Stack:
    """Many batches in arrays (slots, batch, ...); what lies behind the last of them is never looked at."""

    def __init__(self, arrays: Any, count: int):
        self.arrays, self.count = arrays, count

    @cached_property
    def examples(self) -> Any:
        """(count,) the real examples of each batch, on the host."""
        if isinstance(self.arrays, Masked):
            return np.asarray(self.arrays.mask).sum(1)
        return [np.shape(jax.tree.leaves(self.arrays)[0])[1]] * self.count


class Slot(NamedTuple):
    """One batch of a stack."""

    stack: Stack
    place: int

    @property
    def left(self) -> int:
        """The batches of the stack from this one on."""
        return self.stack.count - self.place


def alone(batch: Any) -> Any:
    """A batch by itself, taken out of the stack that it may lie in."""
    if not isinstance(batch, Slot):
        return batch
    return jax.tree.map(lambda array: array[batch.place], batch.stack.arrays)


def read_batch(batch: Any) -> Batch:
    """Take a batch apart: a tuple or list, a dict, or one array."""
    mask = None
    if isinstance(batch, Masked):
        batch, mask = batch
    parts = tuple(batch) if isinstance(batch, (tuple, list)) else None
    return Batch(batch, parts, mask)


def examples(batch: Any) -> int:
    """How many real examples a batch holds, counted on the host."""
    if isinstance(batch, Slot):
        return int(batch.stack.examples[batch.place])
    read = read_batch(batch)
    return read.size if read.mask is None else int(np.asarray(read.mask).sum())


def leading(tree: Any) -> int:
    """The size of the first axis of the first array; 1 where there is none."""
    return next((int(np.shape(leaf)[0]) for leaf in jax.tree.leaves(tree) if np.ndim(leaf)), 1)


def alike(a: Any, b: Any) -> bool:
    """Whether one compiled call can hold both batches: the same form, shapes and dtypes."""
    (ours, form), (theirs, other) = jax.tree.flatten(a), jax.tree.flatten(b)
    return form == other and all(
        np.shape(x) == np.shape(y) and _dtype(x) == _dtype(y) for x, y in zip(ours, theirs, strict=True)
    )


def _dtype(leaf: Any) -> Any:
    return leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)
