"""The first batches, looked at before training: what their shapes and labels rule out is said at once."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, PhloxError, eval_shape, training
from phlox.loop._batch import read_batch
from phlox.loop._feed import Feed
from phlox.loop._loading import check_numbers
from phlox.loop._objective import Objective, check_labels
from phlox.loop._precision import Precision


def rehearsed(
    model: Module, objective: Objective, precision: Precision, train: Feed | None, validation: Feed | None
) -> list[str] | None:
    """Look at the first batches that are at hand; nothing is computed, and nothing changes.

    Returns:
        What else the loss logs, None where that is not known.

    Raises:
        PhloxError: what the model or the loss makes of them, as at the first step, or in the first validation.
    """
    first = None if train is None else train.first()
    scalars = None
    if first is not None and train is not None:
        scalars = _called(model, objective, precision, first, train.where, train=True)
    second = None if validation is None else validation.first()
    if second is None or validation is None or (first is not None and _alike_but_for_the_size(first, second)):
        return scalars
    try:
        _called(model, objective, precision, second, validation.where, train=False)
    except PhloxError as error:
        if error.where in (objective.where, validation.where):
            error.where = validation.where
        else:
            error.where = f"{validation.where}: {error.where}"
        raise
    return scalars


def _called(
    model: Module, objective: Objective, precision: Precision, batch: Any, where: str, *, train: bool
) -> list[str] | None:
    """The names of what the loss returns beside its value, told from shapes; labels are looked at as they are."""
    read = read_batch(batch)
    check_numbers(read.whole, where)
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]  # then everything is called line by line
        return None

    def call(model: Module, batch: Any) -> tuple[dict[str, Any], Any]:
        with precision.block(), training(train):
            report = objective(model, batch)[1]
        return report.scalars, report.prediction

    scalars, prediction = eval_shape(call, model, batch)
    if hasattr(prediction, "shape") and read.parts is not None:
        check_labels(objective.loss, prediction, read.parts[1], where)
    return list(scalars)


def _alike_but_for_the_size(a: Any, b: Any) -> bool:
    """Whether batches differ in the number of their examples alone."""
    (ours, form), (theirs, other) = (jax.tree.flatten(read_batch(batch).whole) for batch in (a, b))
    kind = lambda leaf: (np.shape(leaf)[1:], np.ndim(leaf), jnp.result_type(leaf))  # noqa: E731
    return form == other and list(map(kind, ours)) == list(map(kind, theirs))
