"""A batch as the loop sees it: its parts, whichever form it came in, and what of it is padding."""

from __future__ import annotations

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


def read_batch(batch: Any) -> Batch:
    """Take a batch apart: a tuple or list, a dict, or one array."""
    mask = None
    if isinstance(batch, Masked):
        batch, mask = batch
    parts = tuple(batch) if isinstance(batch, (tuple, list)) else None
    return Batch(batch, parts, mask)


def examples(batch: Any) -> int:
    """How many real examples a batch holds, counted on the host."""
    read = read_batch(batch)
    return read.size if read.mask is None else int(np.asarray(read.mask).sum())


def leading(tree: Any) -> int:
    """The size of the first axis of the first array; 1 where there is none."""
    return next((int(np.shape(leaf)[0]) for leaf in jax.tree.leaves(tree) if np.ndim(leaf)), 1)


def alike(a: Any, b: Any) -> bool:
    """Whether one compiled call can hold both batches: the same form, shapes and dtypes."""
    ours, theirs = jax.tree.flatten(a), jax.tree.flatten(b)
    return ours[1] == theirs[1] and all(
        np.shape(x) == np.shape(y) and jnp.result_type(x) == jnp.result_type(y)
        for x, y in zip(ours[0], theirs[0], strict=True)
    )
