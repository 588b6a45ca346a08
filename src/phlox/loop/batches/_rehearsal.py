"""The first batches, looked at before training: what their shapes and labels rule out is said at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, PhloxError, seed, training
from phlox.loop.batches._batch import read_batch
from phlox.loop.batches._feed import Feed
from phlox.loop.batches._first_look import traced, warn_of_scale
from phlox.loop.batches._loading import check_numbers
from phlox.loop.steps._objective import Objective, by_output, check_labels
from phlox.loop.steps._precision import Precision


def rehearsed(
    model: Module,
    objective: Objective,
    precision: Precision,
    train: tuple[Feed, Any] | None,
    validation: tuple[Feed, Any] | None,
    metrics: Mapping[str, Any] | None = None,
) -> list[str] | None:
    """Look at the first batches that are at hand; nothing is computed, and nothing changes.

    Arguments:
        train, validation: what gives the batches, and the data as it was given: labels at hand are looked at all.
        metrics: by name.

    Returns:
        What else the loss logs, None where that is not known.

    Raises:
        PhloxError: what the model or the loss makes of them, as at the first step, or in the first validation.
        RangeError: labels that are no classes of the prediction.
    """
    first = None if train is None else train[0].first()
    scalars = predictions = None
    if first is not None and train is not None:
        scalars, predictions = _called(model, objective, precision, first, train[0].where, metrics or {}, train=True)
        _check_all_labels(objective, predictions, first, *train)
    second = None if validation is None else validation[0].first()
    if second is None or validation is None:
        return scalars
    where = validation[0].where
    try:
        if first is None or not _alike_but_for_the_size(first, second):
            _, predictions = _called(model, objective, precision, second, where, {}, train=False)
    except PhloxError as error:
        error.where = where if error.where in (objective.where, where) else f"{where}: {error.where}"
        raise
    _check_all_labels(objective, predictions, second, *validation)
    return scalars


def _called(
    model: Module,
    objective: Objective,
    precision: Precision,
    batch: Any,
    where: str,
    metrics: Mapping[str, Any],
    *,
    train: bool,
) -> tuple[list[str] | None, list[Any] | None]:
    """The names of what the loss returns beside its value, and the predictions by output, told from shapes."""
    read = read_batch(batch)
    check_numbers(read.whole, where)
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]  # then everything is called line by line
        return None, None

    def call(model: Module, batch: Any) -> tuple[list[Any], dict[str, Any]]:
        with seed(0), precision.block(), training(train):
            report = objective(model, batch)[1]
        if objective.takes_model:
            return [], report.scalars
        return [row[1] for row in by_output(objective.loss, report.prediction)], report.scalars

    (predictions, scalars), endings = traced(call, model, batch)
    if objective.takes_model:
        return list(scalars), None
    if train and all(hasattr(p, "shape") for p in predictions):
        outputs = getattr(objective.loss, "outputs", (None,))
        for (loss,), end, output in zip(by_output(objective.loss), endings, outputs, strict=False):
            mine = {n: m for n, m in metrics.items() if output is None or getattr(m, "output", None) == output}
            warn_of_scale(loss, end, mine, output, objective.where)
    return list(scalars), predictions


def _check_all_labels(objective: Objective, predictions: list[Any] | None, batch: Any, feed: Feed, data: Any) -> None:
    """Refuse labels that are no classes, in the first batch, and in all the data that is at hand as arrays."""
    if predictions is None or not all(hasattr(p, "shape") for p in predictions):
        return
    for targets in _targets(batch, data):
        for (loss, target), prediction in zip(by_output(objective.loss, targets), predictions, strict=True):
            labels = jnp.shape(target)[:1] if isinstance(target, np.ndarray) else ()
            shape = jax.ShapeDtypeStruct((*labels, *prediction.shape[1:]), prediction.dtype)
            check_labels(loss, shape, target, feed.where)


def _targets(batch: Any, data: Any) -> Iterator[Any]:
    """The targets of the first batch, and those of the data where they can be looked at without being read."""
    parts = read_batch(batch).parts
    if parts is not None and len(parts) > 1:
        yield parts[1]
    if isinstance(data, tuple) and len(data) in (2, 3):
        yield data[1]
    if isinstance(data, list):
        for one in data:
            if isinstance(one, tuple) and len(one) in (2, 3):
                yield one[1]


def _alike_but_for_the_size(a: Any, b: Any) -> bool:
    """Whether batches differ in the number of their examples alone."""
    (ours, form), (theirs, other) = (jax.tree.flatten(read_batch(batch).whole) for batch in (a, b))
    kind = lambda leaf: (np.shape(leaf)[1:], np.ndim(leaf), jnp.result_type(leaf))  # noqa: E731
    return form == other and list(map(kind, ours)) == list(map(kind, theirs))
