"""Several metrics under names, updated together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jax.typing import ArrayLike

from phlox.core import Module, RangeError, StructureError, describe
from phlox.metrics._metric import Metric


class Metrics(Module):
    """Metrics by name: all take the same batch in, and give a dict of values.

    What is fed by other numbers than prediction and target gets them under its name: ``metrics.update(logits, y,
    loss=loss)`` for a member ``loss=px.metrics.Mean()``. All arguments are read before the first member takes
    anything in, so that an error leaves every member as it was; a member whose class has an ``update`` of its own is
    updated by that.

    Arguments:
        metrics: metrics by name.

    Raises:
        RangeError: no metric, or something that is none; from ``update``, numbers under a name that is no member's.
        StructureError: from ``merge``, other members.

    >>> import jax.numpy as jnp, phlox as px
    >>> metrics = px.metrics.Metrics(accuracy=px.metrics.Accuracy(), loss=px.metrics.Mean())
    >>> metrics.update(jnp.array([[0.9, 0.1], [0.8, 0.2]]), jnp.array([0, 1]), loss=jnp.array(0.5))
    >>> {name: float(value) for name, value in metrics.compute().items()}
    {'accuracy': 0.5, 'loss': 0.5}
    """

    def __init__(self, **metrics: Metric):
        wrong = {name: m for name, m in metrics.items() if not isinstance(m, Metric)}
        if wrong or not metrics:
            got = ", ".join(f"{name}={describe(m)}" for name, m in wrong.items()) or "none"
            fix = "give metrics by name, such as accuracy=px.metrics.Accuracy()"
            raise RangeError("one metric or more", got=got, fix=fix, where="Metrics")
        self.metrics: dict[str, Metric] = dict(metrics)

    def update(
        self,
        prediction: Any,
        target: Any,
        weight: ArrayLike | None = None,
        *,
        axis_name: str | None = None,
        **values: Any,
    ) -> None:
        """Take a batch in, all members alike; as ``Metric.update``.

        Arguments:
            prediction, target, weight, axis_name: what every member gets.
            values: what a member gets in place of them, by its name: numbers, or a pair of numbers and their
                weights. A batch's mean is one number; paired with the batch's size, it counts as that many.
        """
        unknown = [name for name in values if name not in self.metrics]
        if unknown:
            fix = f"use one of {', '.join(self.metrics)}"
            raise RangeError("values for members", got=", ".join(unknown), fix=fix, where="Metrics.update")
        given = {name: (value, None, None) for name, value in values.items() if not isinstance(value, tuple)}
        given |= {name: (value[0], None, value[1]) for name, value in values.items() if isinstance(value, tuple)}
        taken = {name: given.get(name, (prediction, target, weight)) for name in self.metrics}
        read = {n: m._read(*taken[n]) for n, m in self.metrics.items() if not m._own_update}
        over = {} if axis_name is None else {"axis_name": axis_name}
        for name, metric in self.metrics.items():
            if metric._own_update:
                metric.update(*taken[name], **over)
            else:
                metric._absorb(read[name], axis_name)

    def compute(self) -> dict[str, Any]:
        """The value of each member, by name."""
        return {name: metric.compute() for name, metric in self.metrics.items()}

    def reset(self) -> None:
        """Forget all that was taken in."""
        for metric in self.metrics.values():
            metric.reset()

    def merge(self, other: Metrics) -> None:
        """Take in what another collection of the same members took in."""
        if self.metrics.keys() != other.metrics.keys():
            fix = "merge collections of the same members"
            got = ", ".join(other.metrics)
            raise StructureError(f"members {', '.join(self.metrics)}", got=got, fix=fix, where="Metrics.merge")
        for name, metric in self.metrics.items():
            metric.merge(other.metrics[name])

    def __getitem__(self, name: str) -> Metric:
        return self.metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)
