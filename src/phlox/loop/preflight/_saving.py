"""A step in less memory, with the same numbers: its batch in parts, and activations computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, disguised, eval_shape, in_disguise, remat, scan, tree_map
from phlox.loop.batches._batch import leading
from phlox.loop.steps._objective import Report

Backward = Callable[[Module, dict[str, Module], Any], tuple[Any, Report, Module]]  # of model, others, batch


@dataclass(frozen=True)
class Saving:
    """What a step does to need less memory.

    Arguments:
        rows: examples that are looked at together at most; gradients of the parts of a batch add up. None: all.
        again: paths of the Modules whose activations are computed again, such as ``model.layers[0]``.
    """

    rows: int | None = None
    again: tuple[str, ...] = ()

    @contextmanager
    def lighter(self, model: Module) -> Iterator[None]:
        """Within the block, the chosen parts of the model that is being differentiated go through ``px.remat``."""
        if not self.again:
            yield
            return
        with in_disguise(model, lambda path, m: disguised(type(m), _again) if path in self.again else None):
            yield

    def parts(self, rows: int) -> int:
        """Into how many equal parts a batch is split."""
        most = self.rows or rows
        return next(n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= most)

    def in_parts(
        self, backward: Backward, model: Module, others: dict[str, Module], batch: Any
    ) -> tuple[Any, Report, Module]:
        """What ``backward`` gives for the whole batch: loss, report and gradients, from those of its parts.

        Means are weighted by what each part counts. Predictions are in the report where metrics look at them.
        """
        rows = leading(batch)
        n = self.parts(rows)
        if n == 1:
            return backward(model, others, batch)
        parts = jax.tree.map(lambda v: _split(v, rows, n), batch)
        form = eval_shape(backward, model, others, jax.tree.map(lambda v: v[0], parts))[2]
        nothing = tree_map(lambda s: jnp.zeros(s.shape, s.dtype), form), jnp.float32(0)

        def one(sums: Any, part: Any) -> Any:
            grads, total = sums
            loss, report, more = backward(model, others, part)
            grads = tree_map(lambda a, g: a + (report.weight * g).astype(a.dtype), grads, more)
            report = report if "metrics" in others else Report(report.weight, report.scalars)
            return (grads, total + report.weight * loss.astype(jnp.float32)), (report, loss)

        (grads, total), (reports, losses) = scan(one, nothing, parts)
        weight = reports.weight.sum()
        each = reports.weight / jnp.where(weight == 0, 1, weight)
        grads = tree_map(lambda g: (g / jnp.where(weight == 0, 1, weight)).astype(g.dtype), grads)
        scalars = {name: (each * v).sum() for name, v in reports.scalars.items()}
        looked_at = jax.tree.map(lambda v: v.reshape(rows, *v.shape[2:]), tuple(reports)[2:])
        loss = (total / jnp.where(weight == 0, 1, weight)).astype(losses.dtype)
        return loss, Report(weight, scalars, *looked_at), grads


ALL_AT_ONCE = Saving()


def _again(call: Callable[..., Any], self: Module, *args: Any, **kwargs: Any) -> Any:
    return remat(call)(self, *args, **kwargs)


def _split(v: Any, rows: int, n: int) -> Any:
    """The parts of an array of the batch along a new first axis; what has no examples is the same for each."""
    v = jnp.asarray(v)
    if v.ndim and v.shape[0] == rows:
        return v.reshape(n, rows // n, *v.shape[1:])
    return jnp.broadcast_to(v, (n, *v.shape))
