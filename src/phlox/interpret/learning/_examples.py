"""Examples one by one: gradients of their losses by all trained numbers of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, StructureError, copy, describe, destructure, testmode
from phlox.interpret.asking._asked import as_rows
from phlox.interpret.asking._rounds import MEMORY, bar

Loss = Callable[..., Any]
"""``loss(model, *batch)``, the mean over a batch."""


class Examples:
    """A model's loss of rows of data, as a function of its trained numbers as one vector."""

    vector: Any
    """(numbers,) what is trained and not frozen."""

    def __init__(self, model: Any, loss: Loss, where: str):
        if not isinstance(model, Module):
            raise StructureError("a px.Module", got=describe(model), fix="pass the trained model", where=where)
        self.vector, restore = destructure(testmode(copy(model)))
        self.where = where

        def of_rows(vector: Any, batch: Any) -> Any:
            return loss(restore(vector), *batch)

        def of_one(vector: Any, row: Any) -> Any:
            return of_rows(vector, jax.tree.map(lambda v: v[None], row))

        self.loss = of_rows
        self._slopes = jax.jit(jax.vmap(jax.grad(of_one), (None, 0)))

    def slopes(self, batch: Any) -> Any:
        """(rows, numbers) the gradient of each row's loss."""
        return self._slopes(self.vector, batch)

    def times(self, data: Any, rows: int, directions: Any, progress: bool | None) -> Any:
        """(directions, rows) the products of vectors (directions, numbers) with the gradient of each row's loss."""
        size = max(1, min(rows, MEMORY // (32 * max(self.vector.size, 1))))
        starts = range(0, rows, size)
        found = []
        with bar(self.where, len(starts), progress) as step:
            for start in starts:
                some = jnp.minimum(jnp.arange(start, start + size), rows - 1)
                found.append(directions @ self.slopes(jax.tree.map(lambda v, some=some: v[some], data)).T)
                step()
        return jnp.concatenate(found, 1)[:, :rows]


def data_of(data: Any, where: str) -> tuple[Any, int]:
    """A batch as a tuple of arrays, and its rows."""
    return as_rows(data if isinstance(data, tuple) else (data,), where)
