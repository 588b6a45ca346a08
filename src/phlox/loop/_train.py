"""px.train: one pass over data, and nothing else."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phlox.core import (
    Module,
    NonFiniteError,
    ShapeError,
    StructureError,
    copy,
    paths,
    training,
    value_and_grad,
    watch_nonfinite,
)
from phlox.loop._checks import check_model, check_optimizer, told
from phlox.loop._interruption import uninterrupted
from phlox.loop.batches._batch import examples, read_batch
from phlox.loop.batches._first_look import where_nan
from phlox.loop.batches._loading import plain_batches
from phlox.loop.steps._by_output import as_loss
from phlox.loop.steps._chunk import Part, program, slots_for
from phlox.loop.steps._ledger import Ledger
from phlox.loop.steps._objective import Objective, check_loss
from phlox.loop.steps._precision import Refusal
from phlox.loop.steps._step import Step
from phlox.optim import Optimizer


@dataclass(frozen=True)
class Pass:
    """What one pass over data measured.

    Attributes:
        loss: the mean, batches weighted by their examples.
        losses: (batches,) that of every batch.
        examples: how many there were.
        scalars: the means of what else the loss returned.
    """

    loss: float
    losses: np.ndarray[Any, Any] = field(repr=False)
    examples: int
    scalars: dict[str, float] = field(default_factory=dict)


def train(loss: Callable[..., Any], model: Module, data: Iterable[Any], opt: Optimizer) -> Pass:
    """Train on every batch of the data once, changing model and optimiser in place.

    It is the loop that you would write: ``for batch in data:`` the gradient of the loss, and ``opt.update``; compiled,
    with many steps in one call where the model is small. A batch whose loss or gradient is not finite is refused, and
    the model and the optimiser are then those of the batch before.

    Arguments:
        loss: ``loss(prediction, target)``, or ``loss(model, *batch)`` where its first parameter is named ``model``.
        model, opt: what is trained, and the optimiser made for it.
        data: an iterable of batches ``(x, y)`` or ``(x, y, weight)``, or whatever the loss takes.

    Raises:
        NonFiniteError: tells the batch, and the layer where the first NaN or infinity appeared.
        StructureError: an optimiser of another model.
        ShapeError: no batch.
        KeyboardInterrupt: Ctrl-C; model and optimiser are then whole, those of the last call that was handed over.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Dense.of(jnp.zeros((1, 1)), None)
    >>> opt = px.Optimizer(px.optim.Descent(0.25), model)
    >>> px.train(px.losses.mse, model, [(jnp.ones((1, 1)), jnp.ones((1, 1)))] * 2, opt)
    Pass(loss=0.625, examples=2, scalars={})
    """
    where = "px.train"
    _check_order(loss, model, data, opt, where)
    loss = as_loss(loss, None, where)
    check_loss(loss, where)
    check_optimizer(opt, model, where)
    objective, others = Objective(loss, where=where), dict[str, Module](guard=Refusal())
    batches = plain_batches(data, where)
    first = next(batches, None)
    if first is None:
        raise ShapeError("at least one batch", got="none", fix="pass a list of batches, or a loader", where=where)
    step = Step(objective)
    run = program(step, slots_for(None, 1, step, model, opt, others, first))
    waiting, done = deque[tuple[list[Any], list[Part]]](), Ledger()
    batches, count, settled = itertools.chain([first], batches), 0, 0
    while chunk := list(itertools.islice(batches, run.slots)):
        with uninterrupted():
            waiting.append((chunk, run(model, opt, others, chunk, None)))
        count += sum(map(examples, chunk))
        if len(waiting) > 2:  # calls run while the next ones are handed over, but not far ahead
            settled = _settle(*waiting.popleft(), done, objective, model, settled)
    for chunk, parts in waiting:
        settled = _settle(chunk, parts, done, objective, model, settled)
    means = done.means()
    return Pass(means.pop("loss"), done.column("loss"), count, means)


def _check_order(loss: Any, model: Any, data: Any, opt: Any, where: str) -> None:
    """Refuse arguments in another order, and arrays where batches are expected."""
    if isinstance(data, tuple) and data and all(hasattr(part, "dtype") for part in data):
        fix = "pass a list of batches [(x, y), …], or px.DataLoader((x, y), 32)"
        raise ShapeError("batches", got=f"a tuple of {len(data)} arrays", fix=fix, where=where)
    if isinstance(loss, Module) and not isinstance(model, Module):
        got = f"a model first, then {told(model)}"
    elif isinstance(data, Optimizer):
        got = f"the optimiser third, then {told(opt)}"
    else:
        return check_model(model, where)
    fix = "write px.train(loss, model, data, opt)"
    raise StructureError("loss, model, data, opt, in this order", got=got, fix=fix, where=where)


def _settle(chunk: list[Any], parts: list[Part], done: Ledger, objective: Objective, model: Module, before: int) -> int:
    """Take in the losses of a chunk, or say what was wrong with a batch of it; how many batches are done."""
    done.add(parts)
    bad = np.flatnonzero(np.isnan(np.concatenate([part.numbers().loss for part in parts])))
    if bad.size:
        raise nonfinite(objective, model, chunk[bad[0]], f"px.train, batch {before + bad[0]}")
    return before + len(chunk)


def nonfinite(objective: Objective, model: Module, batch: Any, where: str) -> NonFiniteError:
    """The error of a batch whose loss or gradient is not finite, found line by line on a copy of the model."""
    error, loss = _looked_at(objective, model, batch, where)
    return error or _of_the_loss(loss, where)


def nonfinite_or_none(objective: Objective, model: Module, batch: Any, where: str) -> NonFiniteError | None:
    """As ``nonfinite``; None where the loss, and what goes through every layer, is finite."""
    error, loss = _looked_at(objective, model, batch, where)
    return error if error is not None or np.isfinite(loss) else _of_the_loss(loss, where)


def _looked_at(objective: Objective, model: Module, batch: Any, where: str) -> tuple[NonFiniteError | None, float]:
    """The error of the layer where something is not finite first, None where every layer is, and the loss."""
    loss: Any = np.nan
    try:
        with watch_nonfinite():
            with training(True):  # forward alone: a loss that is no number spoils every gradient behind it
                loss, _ = objective(copy(model), batch)
            if np.isfinite(loss):
                _, grads = value_and_grad(lambda model: objective(model, batch)[0])(copy(model))
                _check_gradients(grads)
    except NonFiniteError as error:
        error.where = f"{where}: {error.where}"
        spoiled = where_nan(read_batch(batch).whole, "the batch")
        if spoiled:
            error.add_note(f"{spoiled}: look at the data, not at the layer")
        return error, float(loss)
    return None, float(loss)


def _check_gradients(grads: Module) -> None:
    """Refuse a gradient that is not finite though what goes through every layer is: an input may be infinite."""
    for path, gradient in paths(grads).items():
        if not np.isfinite(gradient).all():
            raise NonFiniteError(
                "finite values",
                got="NaN or infinity in the gradient of it, though what every layer gives is finite",
                fix="look at what the layer gets: infinity there is multiplied by a slope of 0",
                where=path,
                located=True,
            )


def _of_the_loss(loss: float, where: str) -> NonFiniteError:
    return NonFiniteError(
        "finite values",
        got=f"a loss of {loss} though what every layer gives is finite",
        fix="look at what the loss computes from the prediction; usual causes are log or division at 0",
        where=where,
        located=True,
    )
