"""px.find_batch_size: the largest batch whose step fits in memory, without running one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from phlox.core import Module, RangeError, bytes_text, copy, value_and_grad
from phlox.loop.batches._batch import leading
from phlox.loop.batches._feed import Feed
from phlox.loop.batches._loading import loader_of
from phlox.loop.preflight._memory import memory
from phlox.loop.preflight._report import NotEnoughMemoryError
from phlox.loop.steps._objective import Objective, check_loss
from phlox.optim import Adam, Optimizer, Rule


@dataclass(frozen=True)
class BatchSizes:
    """What ``px.find_batch_size`` found.

    Attributes:
        suggestion: the largest batch size that fits.
        needs: the bytes that a step needs, by the batch sizes that were tried.
        limit: the bytes that it may need.
    """

    suggestion: int
    needs: dict[int, int]
    limit: int

    def __repr__(self) -> str:
        tried = ", ".join(f"{size}: {bytes_text(need)}" for size, need in self.needs.items())
        return f"BatchSizes(suggestion={self.suggestion}, {tried}; of {bytes_text(self.limit)})"


def find_batch_size(
    model: Module,
    data: Any,
    *,
    loss: Callable[..., Any],
    rule: Rule | None = None,
    limit: int | None = None,
    largest: int | None = None,
) -> BatchSizes:
    """The largest power of two whose training step fits in memory, as the compiler tells; nothing is run.

    ``px.memory`` is asked for 2, 4, 8 … examples, until a step no longer fits or ``largest`` is passed. A larger batch
    is not always a faster one, and wants another learning rate.

    Arguments:
        model: the model; it stays as it is.
        data: as for ``px.fit``; only the shape of an example is looked at.
        loss: as for ``px.fit``.
        rule: of ``px.optim``, for what it keeps; Adam by default.
        limit: bytes that a step may need; by default what the device has left.
        largest: the largest size to try, at least 1; by default the number of examples, or 65536.

    Raises:
        RangeError: an argument outside its range.
        ShapeError: data without a batch.
        NotEnoughMemoryError: not even two examples fit.

    >>> import jax.numpy as jnp, phlox as px
    >>> data = jnp.ones((100, 8)), jnp.zeros((100, 1))
    >>> px.find_batch_size(px.Dense(8, 1), data, loss=px.losses.mse, limit=2**30).suggestion
    64
    """
    where = "find_batch_size"
    check_loss(loss, where)
    largest = _examples(data) if largest is None else largest
    if largest < 1:
        raise RangeError("largest of at least 1", got=repr(largest), fix="give a number of examples", where=where)
    example = next(Feed(loader_of(data, 1, None, where=where), where=where).epoch()).batch
    scratch = copy(model)
    opt = Optimizer(Adam(1e-3) if rule is None else rule, scratch)
    objective = Objective(loss, where=where)

    def step(model: Module, opt: Optimizer, batch: Any) -> Any:
        (loss, _), grads = value_and_grad(lambda model: objective(model, batch), has_aux=True)(model)
        opt.update(model, grads, value=loss)
        return loss

    needs: dict[int, int] = {}
    size, best, allowed = min(2, largest), 0, 0
    while size <= largest:
        found = memory(step, scratch, opt, _sized(example, size), limit=limit, advice=False)
        needs[size], allowed = found.total, found.limit or 0
        if not found.fits:
            break
        best, size = size, 2 * size
    if not best:
        raise NotEnoughMemoryError(
            f"a step that needs at most {bytes_text(allowed)}", got=f"{bytes_text(needs[size])} for {size}",
            fix="px.memory says what takes it, and what would help", where=where,
        )  # fmt: skip
    return BatchSizes(best, needs, allowed)


def _sized(batch: Any, size: int) -> Any:
    """The shapes of a batch of another size."""
    return jax.tree.map(lambda v: jax.ShapeDtypeStruct((size, *np.shape(v)[1:]), v.dtype), batch)


def _examples(data: Any) -> int:
    arrays = all(isinstance(v, (jax.Array, np.ndarray)) for v in jax.tree.leaves(data))
    return leading(data) if arrays else 65536
