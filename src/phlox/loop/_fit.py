"""px.fit: a model trained on data, with everything around it that a training needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from phlox.core import Module, answering
from phlox.loop._interruption import Interruption
from phlox.loop._planning import (
    logged_names,
    look_at_first_batches,
    model_and_optimizer,
    note_origin,
    plan_of,
    run_of,
    task_of,
)
from phlox.loop._settings import WHERE, Settings
from phlox.loop._together import together_of
from phlox.loop._training import Training
from phlox.loop._validating import check_data
from phlox.loop.callbacks._callback import Callback
from phlox.loop.logs._history import History
from phlox.parallel import Placement, Strategy


@answering
def fit(
    model: Module,
    train_data: Any,
    *,
    loss: Any = None,
    optimizer: Any,
    epochs: int = 1,
    steps: int | None = None,
    batch_size: int = 32,
    validation_data: Any = None,
    validation_every: int = 1,
    metrics: Any = None,
    callbacks: Callback | Sequence[Callback] = (),
    seed: int = 0,
    log_dir: str | Path | None = None,
    step: Callable[..., Any] | None = None,
    accumulate: int = 1,
    clip: Any = None,
    precision: str | None = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    time_limit: float | timedelta | None = None,
    dry_run: bool = False,
    overfit_batches: int = 0,
    limit_batches: int | None = None,
    multi_step: int | str = "auto",
    progress: bool | str = "auto",
    devices: Any = None,
    parallel: Strategy | Placement | None = None,
    checkpoint_dir: str | Path | None = None,
    checkpoint_every: int | str = "epoch",
    resume: bool | str = False,
    memory: str | tuple[str, int] | None = None,
    loss_weights: Any = None,
    schema: Any = None,
) -> History:
    """Train a model, in place, and return the history of it.

    It is the loop that you would write: for each epoch, for each batch, the gradient of the loss and a step of the
    optimiser; then validation. One compiled program takes many steps at once where the model is small, and losses stay
    on the device until somebody asks. The same seed gives the same bits on the same machine.

    Arguments:
        model: the model, changed in place.
        train_data: arrays ``(x, y)`` or a dict of them, which a ``px.DataLoader`` shuffles anew for each epoch; or a
            ``px.DataLoader``, or anything else that gives batches each time it is iterated.
        loss: ``loss(prediction, target)``, such as those of ``px.losses``, or a function whose first parameter is named
            ``model``: ``loss(model, x, y)`` for tuples, ``loss(model, batch)`` for other batches. It returns a scalar,
            or a scalar and a dict of further scalars to log. With weights or padding it must take ``weight=``. For a
            model that returns a dict or a tuple, a dict of losses by key, or a list of them: they are added up.
        optimizer: a ``px.Optimizer`` made for this model, or a rule such as ``px.optim.Adam(1e-3)``.
        epochs: how often to go through the data; without meaning where ``steps`` is given.
        steps: optimiser steps in all, over as many epochs as that takes.
        batch_size: examples in a batch, for data that comes without batches.
        validation_data: as ``train_data``; its numbers get the names ``val_…``.
        validation_every: epochs between validations; with ``steps``, steps between them.
        metrics: metrics of ``px.metrics`` by name, taken of training and validation; of validation alone where the
            loss calls the model itself. By output where the losses are: one, a list, or a dict by name for each.
        callbacks: what else is to happen, one or several: see ``px.Callback``.
        seed: of the order of the data.
        log_dir: a folder for loggers; ``history.csv``, ``log.jsonl`` and ``run.json`` are written there.
        step: your own step in place of loss and update: ``step(model, opt, *batch)`` returns the loss.
        accumulate: batches whose gradients are averaged, weighted by their examples, into one step.
        clip: the largest norm of all gradients together, or ``{"value": c}`` for each component.
        precision: ``"bf16"`` or ``"fp16"`` to compute in while the parameters stay float32, with dynamic loss scaling
            for the latter; ``"float64"``.
        class_weight: a number for each class, by which its examples count; ``"balanced"`` for arrays ``(x, y)``: so
            that all classes count alike, as scikit-learn has it.
        sample_weight: (examples,) a number for each example of ``(x, y)``.
        time_limit: seconds, or a ``timedelta``, after which training ends.
        dry_run: take one step and look at one validation batch, on copies, to see that all fits together.
        overfit_batches: train on the first so many batches only, over and over.
        limit_batches: so many batches an epoch at most, of validation too.
        multi_step: steps in one dispatch; ``"auto"`` chooses by the size of model and batch. It changes no number.
        progress: True, False, ``"plain"`` for lines of text, or ``"auto"``.
        devices: ``"all"``, a number or a list of devices to spread batches over; None for one. It is short for
            ``parallel=px.parallel.data_parallel(devices)``.
        parallel: how devices share the work, in place of ``devices``: a strategy such as ``px.parallel.fsdp()``, a
            product of several, or a ``px.parallel.Placement``.
        checkpoint_dir, checkpoint_every: where and how often to save: ``"epoch"`` or a number of steps. A
            ``px.Checkpoint`` among the callbacks, in their place, has more to choose.
        resume: go on from the newest checkpoint, if there is one; from the ``"best"``, or from the folder of one.
        memory: ``"check"`` refuses, before the first step, a step that needs more than the device has, and says what
            would help; ``"auto"`` makes it fit where that keeps the numbers, by micro-batches or ``px.remat``.
            ``("check", bytes)`` and ``("auto", bytes)`` set the limit themselves. See ``px.memory``.
        loss_weights: factors of the losses by output, 1 where nothing is said.
        schema: what is expected of the data, by ``px.data.validate.schema``: training and validation data are gone
            through once before the first step, and refused where something in them is against it.

    Returns:
        The ``History``; its ``optimizer`` is the one that trained. Ctrl-C ends training behind the step that runs:
        the history then is ``interrupted``, and model and optimiser are those of that step. A second Ctrl-C raises.

    Raises:
        RangeError, StructureError, ShapeError: arguments that mean nothing or do not fit, before the first step.
        Exception: whatever ends training has what was measured until then as its attribute ``history``.
        NotEnoughMemoryError: see ``memory``. InvalidDataError: see ``schema``.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Dense.of(jnp.zeros((1, 1)), None)
    >>> batches = [(jnp.array([[1.0], [2.0]]), jnp.array([[2.0], [4.0]]))]
    >>> history = px.fit(model, batches, loss=px.losses.mse, optimizer=px.optim.Descent(0.1), epochs=3, progress=False)
    >>> history
    epoch  step   loss
        1     1     10
        2     2    2.5
        3     3  0.625
    """
    asked = Settings.of(locals())  # before there is anything else than arguments
    data = {"train_data": train_data, "validation_data": validation_data}
    interruption = Interruption()
    with interruption.listening():
        asked.check(model)
        check_data(asked.schema, data)
        settings = asked.of_a_dry_run() if dry_run else asked
        with together_of(settings.placement(), WHERE) as together:
            task = task_of(settings, data, together)
            together.prepare((task.feed, task.validation))
            model, opt = model_and_optimizer(model, settings, task)
            run = run_of(model, opt, task, settings, asked.logged(), interruption)
            scalars = look_at_first_batches(run, task, settings)
            plan = plan_of(run, task, settings)
            run.names = logged_names(run, scalars, plan.train_metrics)
            note_origin(run, task, settings)
            return Training(run, plan).go()
