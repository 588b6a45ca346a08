"""What a step minimises: a loss in the form its user wrote it, on a batch in the form it came."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from phlox.core import Module, RangeError, ShapeError, describe
from phlox.loop._checks import told
from phlox.loop.batches._batch import Batch, read_batch
from phlox.loop.batches._loading import check_axis
from phlox.loop.steps._by_output import OutputLosses, part_of
from phlox.loop.steps._weighing import check_takes_weights, class_factor, parameters_of, spread, takes_weights, weighed


class Report(NamedTuple):
    """What a loss tells beside its value."""

    weight: Any  # () how much the batch counts in a mean over batches: its examples, or the sum of their weights
    scalars: dict[str, Any]  # further numbers to log
    prediction: Any = None  # for metrics; None where the loss calls the model itself
    target: Any = None
    counted: Any = None  # the weights of examples without those of their classes, or None


@dataclass(frozen=True)
class Objective:
    """A loss, called as its first parameter says.

    A first parameter named ``model`` or ``m`` takes the model, ``loss(model, *batch)`` for tuples and
    ``loss(model, batch)`` for everything else; any other form is ``loss(prediction, target)``. It returns a scalar,
    or a scalar and a dict of further scalars.

    Arguments:
        loss: the function.
        class_weight: (classes,) how much an example of each class counts, or None.
        where: who speaks in errors.
    """

    loss: Callable[..., Any]
    class_weight: tuple[float, ...] | None = None
    where: str = "px.fit"

    @property
    def takes_model(self) -> bool:
        """Whether the loss calls the model itself."""
        return next(iter(parameters_of(self.loss)), None) in ("model", "m")

    @property
    def takes_weights(self) -> bool:
        """Whether examples can count differently."""
        return "weight" in parameters_of(self.loss) if self.takes_model else takes_weights(self.loss)

    def __call__(self, model: Module, batch: Any) -> tuple[Any, Report]:
        """The loss of a batch and its report."""
        read = read_batch(batch)
        if self.takes_model:
            return self._of_model(model, read)
        return self._of_prediction(model, read)

    def _of_model(self, model: Module, read: Batch) -> tuple[Any, Report]:
        if self.class_weight is not None:
            fix = "weigh classes inside the loss, or give one of the form loss(prediction, target)"
            raise RangeError(
                "a loss of prediction and target for class_weight",
                got="one that calls the model",
                fix=fix,
                where=self.where,
            )
        if read.mask is not None:
            check_takes_weights(self.loss, self.takes_weights, self.where)
        named = {} if read.mask is None else {"weight": read.mask}
        parts = (read.whole,) if read.parts is None else read.parts
        try:
            value = self.loss(model, *parts, **named)
        except KeyError as error:
            if isinstance(read.whole, Mapping) and error.args[:1] and error.args[0] not in read.whole:
                error.add_note(f"{self.where}: the batch has {', '.join(map(repr, read.whole))}")
            raise
        loss, scalars = scalar_and_more(value, "loss", self.where)
        return loss, Report(read.count(read.mask), scalars)

    def _of_prediction(self, model: Module, read: Batch) -> tuple[Any, Report]:
        x, target, given = self.pair(read)
        prediction = model(x)
        by_name = isinstance(given, Mapping)
        weight = counted = {n: read.combined(w) for n, w in given.items()} if by_name else read.combined(given)
        if self.class_weight is not None:
            if isinstance(self.loss, OutputLosses):
                fix = "weigh classes in the loss of the output, for example with its class_weight="
                raise RangeError("one loss for class_weight", got="losses by output", fix=fix, where=self.where)
            factor = class_factor(self.loss, self.class_weight, prediction, target, self.where)
            weight = factor if weight is None else factor * spread(weight, factor)
        value = weighed(self.loss, prediction, target, weight, self.where)
        loss, scalars = scalar_and_more(value, "loss", self.where)
        counts = next(iter(weight.values())) if isinstance(weight, Mapping) else weight
        return loss, Report(read.count(counts), scalars, prediction, target, counted)

    def pair(self, read: Batch) -> tuple[Any, Any, Any]:
        """Input, target and weight of a batch for a loss of prediction and target."""
        if read.parts is None or len(read.parts) not in (2, 3):
            fix = "give a loss whose first parameter is named model: it gets the batch as it is"
            if read.parts is not None:
                got = f"a tuple of {len(read.parts)}"
            elif isinstance(read.whole, Mapping):
                got = f"a dict of {', '.join(map(str, read.whole))}"
            else:
                got = f"a single array {describe(read.whole)}"
                fix = f"pass data as a tuple (x, y), for a list is taken as a list of batches; or {fix}"
            what = "batches (x, y) or (x, y, weight) for a loss of prediction and target"
            raise ShapeError(what, got=got, fix=fix, where=self.where)
        x, target = read.parts[:2]
        check_axis(x, target, self.where)
        return x, target, read.parts[2] if len(read.parts) == 3 else None


def scalar_and_more(value: Any, what: str, where: str) -> tuple[Any, dict[str, Any]]:
    """The loss and further scalars, from what a loss or a step of the user's returned."""
    loss: Any
    loss, scalars = value if isinstance(value, tuple) and len(value) == 2 else (value, {})
    wrong = {"": scalars} if not isinstance(scalars, dict) else {k: v for k, v in scalars.items() if jnp.shape(v) != ()}
    if not hasattr(loss, "dtype") or jnp.shape(loss) != ():
        wrong = {"": loss}
    if wrong:
        name, got = next(iter(wrong.items()))
        raise ShapeError(
            f"a {what} that returns a scalar, or a scalar and a dict of scalars",
            got=f"{name}: {describe(got)}" if name else describe(got),
            fix="end it with return loss" if loss is None else "reduce it, for example with .mean()",
            where=where,
        )
    wide = jnp.promote_types(jnp.float32, loss.dtype) == jnp.float64
    dtype = jnp.float64 if wide else jnp.float32
    return loss, OrderedDict((name, jnp.asarray(v, dtype)) for name, v in scalars.items())  # JAX sorts a dict


def by_output(loss: Callable[..., Any], *values: Any) -> list[tuple[Any, ...]]:
    """A loss with its prediction, target and their like; of losses by output, a row for each."""
    if not isinstance(loss, OutputLosses):
        return [(loss, *values)]
    return [(part, *[part_of(v, name, "output", loss.where) for v in values]) for name, part in loss.losses]


def check_labels(loss: Callable[..., Any], prediction: Any, target: Any, where: str) -> None:
    """Refuse labels that are no classes of a prediction, where the loss is one of classes; nothing is computed with."""
    of = inspect.signature(loss).parameters.get("ignore_index") if parameters_of(loss) else None
    shape, labels = np.shape(prediction), target
    if of is None or not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or not labels.size:
        return
    counted = labels[labels != of.default] if of.default is not None else labels
    if shape[:-1] != labels.shape or not counted.size or (counted.min() >= 0 and counted.max() < shape[-1]):
        return
    raise RangeError(
        f"labels in 0 … {shape[-1] - 1}, for a prediction of {shape[-1]} classes",
        got=f"labels in {counted.min()} … {counted.max()}",
        fix="count classes from 0, and give the last layer as many outputs as there are classes",
        where=where,
    )


def check_loss(loss: Any, where: str) -> None:
    """Refuse what cannot be called, and a loss of prediction and target that takes other arguments than these."""
    if isinstance(loss, OutputLosses):
        for name, part in loss.losses:
            check_loss(part, f"{where}(loss[{name!r}])")
        return
    if not callable(loss) or isinstance(loss, type):
        raise RangeError(
            "a function as loss",
            got=told(loss),
            fix="pass one of px.losses, such as px.losses.cross_entropy, or loss(model, x, y)",
            where=where,
        )
    names = parameters_of(loss)
    if not names or names[0] in ("model", "m"):
        return
    given = {"weight": None} if "weight" in names[2:] else {}
    try:
        inspect.signature(loss).bind(None, None, **given)
    except TypeError as error:
        name = getattr(loss, "__name__", type(loss).__name__)
        raise RangeError(
            "a loss(prediction, target), or one whose first parameter is named model",
            got=f"{name}({', '.join(names)})",
            fix=f"rename its first parameter, {names[0]}, to model: a loss that calls the model is known by that name",
            where=where,
        ) from error
