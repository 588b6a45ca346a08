"""px.evaluate and px.predict: a model over data, in inference."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import (
    Module,
    PhloxError,
    RangeError,
    ShapeError,
    answering,
    copy,
    describe,
    eval_shape,
    jit,
    training,
)
from phlox.loop._checks import told
from phlox.loop._interruption import uninterrupted
from phlox.loop._prepared import give_up, prepared
from phlox.loop._together import all_rows, gathered
from phlox.loop.batches._batch import read_batch
from phlox.loop.batches._feed import Feed
from phlox.loop.batches._loading import loader_of
from phlox.loop.steps._by_output import OutputLosses, as_loss, metrics_by_output
from phlox.loop.steps._chunk import Part
from phlox.loop.steps._ledger import Ledger
from phlox.loop.steps._objective import Objective, check_loss
from phlox.loop.steps._precision import Precision
from phlox.loop.steps._step import Record, spread, with_few_sums
from phlox.loop.steps._weighing import as_class_weight
from phlox.metrics import Metric, Metrics
from phlox.parallel import Placement, placement_of


@answering
def evaluate(
    model: Module,
    data: Any,
    *,
    loss: Any = None,
    loss_weights: Any = None,
    metrics: Any = None,
    batch_size: int = 32,
    precision: str | None = None,
    class_weight: Any = None,
    limit_batches: int | None = None,
) -> dict[str, float]:
    """The mean loss and the metrics of a model over data, in inference; padding does not count.

    Arguments:
        model: stays as it is.
        data, loss, loss_weights, batch_size, precision, class_weight: as for ``px.fit``; a loss or metrics must be
            given.
        metrics: a metric, a dict of them by name, or ``px.metrics.Metrics``; they stay as they are.
        limit_batches: look at so many batches at most.

    Returns:
        Numbers by name: ``loss``, further scalars of the loss, and each metric; arrays where a metric's value is one.

    Raises:
        RangeError: neither a loss nor metrics.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Dense.of(jnp.ones((1, 1)), None)
    >>> batches = [(jnp.array([[1.0], [3.0]]), jnp.array([[1.0], [1.0]]))]
    >>> px.evaluate(model, batches, loss=px.losses.mse, metrics={"mae": px.metrics.MeanAbsoluteError()})
    {'loss': 2.0, 'mae': 1.0}
    """
    where = "px.evaluate"
    loss = as_loss(loss, loss_weights, where)
    measured = as_metrics(metrics, where, loss)
    if loss is None and measured is None:
        raise RangeError("a loss or metrics", got="neither", fix="pass loss= or metrics=", where=where)
    if loss is not None:
        check_loss(loss, where)
    objective = Objective(loss or no_loss, as_class_weight(class_weight, where), where)
    loader = loader_of(data, batch_size, None, where=where)
    feed = Feed(loader, limit_batches, masked=objective.takes_weights, where=where)
    with all_rows(loader):
        found = evaluated(model, feed, objective, measured, Precision.of(precision, where), placement_of(model))
    if loss is None:
        del found["loss"]
    return found


def evaluated(
    model: Module,
    feed: Feed,
    objective: Objective,
    metrics: Metrics | None,
    precision: Precision,
    placement: Placement | None = None,
    opened: Callable[[Iterable[Any]], Iterator[Any]] = iter,
) -> dict[str, Any]:
    """Numbers of a model over an epoch of a feed; the metrics stay as they are.

    Arguments:
        placement: how the model lies on several devices.
        opened: goes through the batches, and lets Ctrl-C act where one is fetched.
    """
    measured, ledger = copy(metrics), Ledger()
    measure = _measure(objective, precision, placement)
    if measured is not None:
        measured.reset()
    with training(False):
        for fed in opened(feed.epoch()):
            batch = _over_devices(placement, fed.batch)
            with uninterrupted():
                part = Part(measure(model, measured, batch), None)
            ledger.add([part])
    return ledger.means() | computed(measured)


def _over_devices(placement: Placement | None, batch: Any) -> Any:
    """A batch, of which every process has the whole, where the model lies."""
    return batch if placement is None else placement.spread(batch, strict=False, whole=True)


@functools.lru_cache(maxsize=8)
def _measure(objective: Objective, precision: Precision, placement: Placement | None) -> Any:
    """One batch of an evaluation, compiled."""

    def look(model: Module, metrics: Metrics | None, batch: Any) -> Record:
        with precision.block(), spread(placement, batch):
            loss, report = objective(model, batch)
            seen = None if metrics is None else _measured(objective, model, batch, report)
        if metrics is not None and seen is not None:
            metrics.update(*seen)
        return Record(loss, report.weight, report.scalars)

    @jit
    def measure(model: Module, metrics: Metrics | None, batch: Any) -> Record:
        return with_few_sums(placement, look, batch, "px.evaluate")(model, metrics, batch)

    return measure


def _measured(objective: Objective, model: Module, batch: Any, report: Any) -> tuple[Any, Any, Any]:
    """What metrics look at; a loss that calls the model itself does not tell, so the model is called again."""
    if not objective.takes_model:
        return report.prediction, report.target, report.counted
    read = read_batch(batch)
    x, target, weight = objective.pair(read)
    return model(x), target, read.combined(weight)


def no_loss(prediction: Any, target: Any, weight: Any = None) -> Any:
    """A loss for an evaluation that has only metrics."""
    del prediction, target, weight
    return jnp.float32(0)


def as_metrics(given: Any, where: str, loss: Any = None) -> Metrics | None:
    """Metrics by name, from a metric, a dict or a list of them, or ``Metrics``; by output where the loss is.

    Raises:
        RangeError: anything else.
    """
    if given is None or isinstance(given, Metrics):
        return given
    if isinstance(loss, OutputLosses):
        given = metrics_by_output(given, loss.outputs, _name, where)
    if isinstance(given, Metric):
        given = [given]
    named = dict(given) if isinstance(given, Mapping) else {}
    if isinstance(given, (list, tuple)):
        named = {_name(m) if isinstance(m, Metric) else f"number {n}": m for n, m in enumerate(given)}
    strange = [f"{told(m)} as {name}" for name, m in named.items() if not isinstance(m, Metric)]
    if strange or not named:
        raise RangeError(
            "metrics: one of px.metrics, or several by name",
            got=", ".join(strange) or told(given),
            fix="pass for example metrics={'accuracy': px.metrics.Accuracy()}, and a function by from_function(f)",
            where=where,
        )
    return Metrics(**named)


def _name(metric: Metric) -> str:
    """``MeanSquaredError`` → ``mean_squared_error``, ``ROCAUC`` → ``rocauc``."""
    own = getattr(metric, "name", None)
    if isinstance(own, str):
        return own
    name = type(metric).__name__
    return "".join(f"_{c}" if c.isupper() and i and name[i - 1].islower() else c for i, c in enumerate(name)).lower()


def computed(metrics: Metrics | None) -> dict[str, Any]:
    """The values of metrics by name: floats, or arrays on the host where a value is one."""
    if metrics is None:
        return {}
    values = metrics.compute()
    found: dict[str, Any] = {}
    for name in metrics.metrics:  # in the order in which they were given, which a compiled call forgets
        value = jax.tree.map(np.asarray, values[name])
        found[name] = float(value) if isinstance(value, np.ndarray) and np.ndim(value) == 0 else value
    return found


@answering
def predict(
    model: Module, data: Any, *, batch_size: int = 32, precision: str | None = None, limit_batches: int | None = None
) -> Any:
    """What a model says for every example, in inference, in the order of the data; padding is cut off.

    On a CPU a copy by ``px.optimize_for_inference`` says it, made at the first call and kept as long as the weights are
    what they were: the numbers are those of the model to rounding.

    Arguments:
        model: stays as it is.
        data: an array, or as for ``px.fit``; of a tuple, the model gets the first part, of a dict the whole.
        batch_size: examples in a batch, for data that comes without batches.
        precision: as for ``px.fit``.
        limit_batches: look at so many batches at most.

    Returns:
        The model's outputs joined along their first axis, as NumPy arrays in the form in which the model gives them. A
        shuffled or bucketed ``px.DataLoader`` is put back into the order of its data.

    Raises:
        RangeError: a loader in another order that cannot be put back: a shuffled stream, one that leaves batches out.
        ShapeError: outputs of different shapes.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.predict(px.Dense.of(2 * jnp.ones((1, 1)), None), [jnp.array([[1.0]]), jnp.array([[3.0]])]).tolist()
    [[2.0], [6.0]]
    """
    where = "px.predict"
    loader = loader_of(data, batch_size, None, where=where)
    places = _places(loader, limit_batches, where)
    feed = Feed(loader, limit_batches, masked=True, where=where)
    placement = placement_of(model)
    call = _caller(model, Precision.of(precision, where), placement)
    outputs: list[Any] = []
    with training(False), all_rows(loader):
        for fed in feed.epoch():
            read = read_batch(fed.batch)
            x = read.whole if read.parts is None else read.parts[0]
            try:
                with uninterrupted():
                    output = gathered(call(_over_devices(placement, x)))
            except PhloxError as error:
                raise _without_batch(model, data, error, where) from None
            if read.mask is not None:
                real = np.asarray(read.mask)
                output = jax.tree.map(lambda a, real=real: np.asarray(a)[real], output)
            outputs.append(output)
    return jax.tree.map(lambda *parts: _joined(parts, places, where), *outputs)


def _places(loader: Any, limit: int | None, where: str) -> np.ndarray[Any, Any] | None:
    """Where in the loader's order each of its observations stands, in the order of the data; None where they agree.

    Raises:
        RangeError: a loader in an order of its own that does not tell it, or that leaves observations out.
    """
    from phlox.data import has_own_order  # slow to import

    if getattr(loader, "keeps_order", not has_own_order(loader)):
        return None
    rows = loader.coming() if hasattr(loader, "coming") else None
    left_out = "limit_batches" if limit is not None else "drop_last" if getattr(loader, "leaves_out", 0) else None
    if rows is None or left_out:
        raise RangeError(
            "a loader in the order of the data, or one that tells its order and leaves nothing out",
            got=f"{loader!r}" + (f" with {left_out}" if left_out else ""),
            fix="give the data itself, or a px.DataLoader without shuffle and bucket_by",
            where=where,
        )
    return np.argsort(rows, kind="stable")


def _joined(parts: Sequence[Any], places: np.ndarray[Any, Any] | None, where: str) -> np.ndarray[Any, Any]:
    """The outputs of all batches in one array, in the order of the data."""
    arrays = [np.asarray(part) for part in parts]
    shapes = dict.fromkeys(array.shape[1:] for array in arrays)
    if len(shapes) > 1:
        raise ShapeError(
            "outputs of one shape for all examples",
            got=" and ".join(str(list(shape)) for shape in shapes),
            fix="let the model return one vector an example, or call it batch by batch",
            where=where,
        )
    joined = np.concatenate(arrays)
    return joined if places is None else joined[places]


def _without_batch(model: Module, data: Any, error: PhloxError, where: str) -> PhloxError:
    """The error to raise: another one where data is one example, which the model takes with an axis for the batch."""
    if isinstance(data, np.ndarray | jax.Array):
        with suppress(Exception), training(False):
            eval_shape(model, data[None])
            return ShapeError(
                "examples along the first axis", got=f"one example {describe(data)}",
                fix="pass x[None] in place of x, and take the first of what comes back", where=where,
            )  # fmt: skip
    return error


def _caller(model: Module, precision: Precision, placement: Placement | None) -> Callable[[Any], Any]:
    """The model on a batch: made ready for it where it computes on one CPU as it is, else as it is."""
    call = _call(precision, placement)
    if precision.name is not None or placement is not None or not isinstance(model, Module):
        return lambda x: call(model, x)

    def by_the_fast_one(x: Any) -> Any:
        fast = prepared(model)
        if fast is model:
            return call(model, x)
        try:
            return call(fast, x)
        except Exception:  # code of the model's own looks into layers: let it say what it says of them
            give_up(model)
            return call(model, x)

    return by_the_fast_one


@functools.lru_cache(maxsize=8)
def _call(precision: Precision, placement: Placement | None) -> Any:
    @jit
    def call(model: Module, x: Any) -> Any:
        with precision.block(), spread(placement, x):
            return model(x)

    return call
