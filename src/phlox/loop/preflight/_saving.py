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

    def parts(self, rows: int, devices: int = 1) -> int:
        """Into how many equal parts a batch is split, each of which the devices share evenly."""
        most = self.rows or rows
        even = (n for n in range(1, rows // devices + 1) if rows % (n * devices) == 0)
        return next((n for n in even if rows // n <= most), 1)

    def in_parts(
        self, backward: Backward, model: Module, others: dict[str, Module], batch: Any, devices: int = 1
    ) -> tuple[Any, Report, Module]:
        """What ``backward`` gives for the whole batch: loss, report and gradients, from those of its parts.

        Means are weighted by what each part counts. Predictions are in the report where metrics look at them.

        Arguments:
            devices: how many share the batch, a block of rows each. A part has rows of every block, so none moves.
        """
        rows = leading(batch)
        n = self.parts(rows, devices)
        if n == 1:
            return backward(model, others, batch)
        split = Split(rows, n, devices)
        parts = jax.tree.map(split, batch)
        loss, _, form = eval_shape(backward, model, others, jax.tree.map(lambda v: v[0], parts))
        nothing = tree_map(lambda s: jnp.zeros(s.shape, s.dtype), form), jnp.zeros((), _wide(loss.dtype))

        def one(sums: Any, part: Any) -> Any:
            grads, total = sums
            loss, report, more = backward(model, others, part)
            grads = tree_map(lambda a, g: a + (report.weight * g).astype(a.dtype), grads, more)
            report = report if "metrics" in others else Report(report.weight, report.scalars)
            return (grads, total + report.weight * loss.astype(total.dtype)), (report, loss)

        (grads, total), (reports, losses) = scan(one, nothing, parts)
        weight = reports.weight.sum()
        each = reports.weight / jnp.where(weight == 0, 1, weight)
        grads = tree_map(lambda g: (g / jnp.where(weight == 0, 1, weight)).astype(g.dtype), grads)
        scalars = {name: (each * v).sum() for name, v in reports.scalars.items()}
        looked_at = jax.tree.map(split.back, tuple(reports)[2:])
        loss = (total / jnp.where(weight == 0, 1, weight)).astype(losses.dtype)
        return loss, Report(weight, scalars, *looked_at), grads


ALL_AT_ONCE = Saving()


def _again(call: Callable[..., Any], self: Module, *args: Any, **kwargs: Any) -> Any:
    return remat(call)(self, *args, **kwargs)


def _wide(dtype: Any) -> Any:
    """A dtype to add losses up in."""
    return jnp.promote_types(dtype, jnp.float32)


@dataclass(frozen=True)
class Split:
    """A batch in n parts along a new first axis.

    Attributes:
        devices: blocks of rows, of each of which every part has its n-th.
    """

    rows: int
    n: int
    devices: int = 1

    def __call__(self, v: Any) -> Any:
        """The parts of an array of the batch; what has no examples is the same for each."""
        v = jnp.asarray(v)
        if not v.ndim or v.shape[0] != self.rows:
            return jnp.broadcast_to(v, (self.n, *v.shape))
        blocks = v.reshape(self.devices, self.n, self.rows // (self.n * self.devices), *v.shape[1:])
        return jnp.moveaxis(blocks, 0, 1).reshape(self.n, self.rows // self.n, *v.shape[1:])

    def back(self, v: Any) -> Any:
        """The array whose parts these are."""
        blocks = v.reshape(self.n, self.devices, self.rows // (self.n * self.devices), *v.shape[2:])
        return jnp.moveaxis(blocks, 0, 1).reshape(self.rows, *v.shape[2:])
