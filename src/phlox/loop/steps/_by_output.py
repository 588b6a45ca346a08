"""Losses and metrics of a model with several outputs: one for each, the losses added up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from phlox.core import RangeError, StructureError, describe
from phlox.loop.steps._weighing import takes_weights, weighed
from phlox.metrics import Metric

Name = str | int  # of an output: its key in a dict, or its place in a tuple


@dataclass(frozen=True)
class OutputLosses:
    """The sum of a loss for each output, each times its factor; the losses by themselves are told as ``NAME_loss``.

    Arguments:
        losses: by output.
        factors: by output, 1 where nothing is said.
        where: who speaks in errors.
    """

    losses: tuple[tuple[Name, Callable[..., Any]], ...]
    factors: tuple[tuple[Name, float], ...]
    where: str = "px.fit"

    @property
    def outputs(self) -> tuple[Name, ...]:
        """The names of the outputs."""
        return tuple(name for name, _ in self.losses)

    @property
    def takes_weights(self) -> bool:
        """Whether every one of the losses can weigh examples."""
        return all(takes_weights(loss) for _, loss in self.losses)

    def __call__(self, prediction: Any, target: Any, weight: Any = None) -> tuple[Any, dict[str, Any]]:
        """The sum, and each loss by itself."""
        factors, total, found = dict(self.factors), None, {}
        for name, loss in self.losses:
            p, t = part_of(prediction, name, "output", self.where), part_of(target, name, "target", self.where)
            value = weighed(loss, p, t, part_of_weight(weight, name, self.where), self.where)
            found[f"{name}_loss"] = value
            term = value * factors.get(name, 1.0)
            total = term if total is None else total + term
        return total, found


def part_of(value: Any, name: Name, what: str, where: str) -> Any:
    """The part of a prediction, or of a target, that belongs to an output."""
    if isinstance(value, Mapping) and name in value:
        return value[name]
    if isinstance(value, tuple | list) and isinstance(name, int) and name < len(value):
        return value[name]
    if isinstance(name, str) and name in getattr(value, "_fields", ()):
        return getattr(value, name)
    if isinstance(value, Mapping):
        got = f"a dict of {', '.join(map(str, value))}"
    else:
        got = f"a tuple of {len(value)}" if isinstance(value, tuple | list) else describe(value)
    of = "the model to give" if what == "output" else "the data to have"
    raise StructureError(
        f"{of} the {what} {name!r}, which has a loss or a metric", got=got,
        fix="name in loss= and metrics= what the model returns: keys of its dict, or places 0, 1, … of its tuple; "
        "targets have the same names", where=where,
    )  # fmt: skip


def part_of_weight(weight: Any, name: Name, where: str) -> Any:
    """The weight of an output: its own, where weights come by output, else that of all."""
    return part_of(weight, name, "weight", where) if isinstance(weight, Mapping) else weight


def as_loss(loss: Any, factors: Any, where: str) -> Any:
    """A loss as the loop calls it: several by output as one, any other as it is.

    Raises:
        RangeError: factors without losses by output, or for outputs that have no loss.
    """
    if isinstance(loss, tuple | list):
        loss = dict(enumerate(loss))
    if not isinstance(loss, Mapping) or not loss:
        if factors is not None:
            fix = 'pass loss={"a": …, "b": …}, a loss for each output'
            raise RangeError("losses by output for loss_weights", got=describe(loss), fix=fix, where=where)
        return loss
    factors = dict(enumerate(factors)) if isinstance(factors, tuple | list) else dict(factors or {})
    strange = [name for name in factors if name not in loss]
    wrong = [name for name, v in factors.items() if not isinstance(v, int | float) or not 0 <= v < float("inf")]
    if strange or wrong:
        raise RangeError(
            f"loss_weights, numbers of at least 0, for outputs with a loss: {', '.join(map(str, loss))}",
            got=", ".join(f"{name!r}: {factors[name]!r}" for name in (*strange, *wrong)),
            fix="give each output that is not to count 1 its number", where=where,
        )  # fmt: skip
    return OutputLosses(tuple(loss.items()), tuple((n, float(v)) for n, v in factors.items()), where)


class OfOutput(Metric):
    """A metric of one output of a model.

    Arguments:
        metric: what is measured.
        output: its key in the dict, or its place in the tuple, that the model gives.
    """

    def __init__(self, metric: Metric, output: Name):
        self.metric, self.output = metric, output

    def update(self, prediction: Any, target: Any, weight: Any = None, *, axis_name: str | None = None) -> None:
        self.metric.update(*self._parts(prediction, target, weight), axis_name=axis_name)

    def compute(self) -> Any:
        return self.metric.compute()

    def reset(self) -> None:
        self.metric.reset()

    def merge(self, other: Any) -> None:
        self.metric.merge(other.metric)

    def _parts(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, Any, Any]:
        where, name = "px.fit(metrics)", self.output
        p, t = part_of(prediction, name, "output", where), part_of(target, name, "target", where)
        return p, t, part_of_weight(weight, name, where)

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        return self.metric._read(*self._parts(prediction, target, weight))

    def _absorb(self, arrays: tuple[Any, ...], axis_name: str | None) -> None:
        self.metric._absorb(arrays, axis_name)


def metrics_by_output(given: Any, outputs: tuple[Name, ...], name_of: Callable[[Metric], str], where: str) -> Any:
    """Metrics by their names in the history, ``OUTPUT_NAME``, from one, several, or several by name for each output.

    Raises:
        RangeError: what is not by output.
    """
    if given is None or (isinstance(given, Mapping) and all(isinstance(m, OfOutput) for m in given.values())):
        return given
    if isinstance(given, tuple | list) and len(given) == len(outputs):
        given = dict(enumerate(given))
    if not isinstance(given, Mapping) or any(name not in outputs for name in given):
        got = ", ".join(map(repr, given)) if isinstance(given, Mapping) else describe(given)
        raise RangeError(
            f"metrics by output, as the losses are: {', '.join(map(repr, outputs))}", got=got,
            fix=f"pass for example metrics={{{outputs[0]!r}: px.metrics.MeanSquaredError()}}", where=where,
        )  # fmt: skip
    found: dict[str, Any] = {}
    for output, metrics in given.items():
        several = metrics if isinstance(metrics, tuple | list) else [metrics]
        named = dict(metrics) if isinstance(metrics, Mapping) else {}
        if not named:
            named = {name_of(m) if isinstance(m, Metric) else str(n): m for n, m in enumerate(several)}
        found |= {f"{output}_{n}": OfOutput(m, output) if isinstance(m, Metric) else m for n, m in named.items()}
    return found
