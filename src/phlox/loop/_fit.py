"""px.fit: a model trained on data, with everything around it that a training needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from phlox.core import Module, RangeError, answering, copy, warn_of_one_array_twice
from phlox.loop._checks import check_folder, check_model, check_optimizer, check_rule, check_whole
from phlox.loop._evaluate import as_metrics, no_loss
from phlox.loop._interruption import Interruption
from phlox.loop._run import Run
from phlox.loop._training import Plan, Training
from phlox.loop.batches._feed import Feed
from phlox.loop.batches._loading import loader_of
from phlox.loop.batches._rehearsal import rehearsed
from phlox.loop.callbacks._callback import Callback, as_callbacks, overrides
from phlox.loop.callbacks._lambda import LambdaCallback
from phlox.loop.callbacks._limits import TimeLimit
from phlox.loop.callbacks._plateau import ReduceOnPlateau
from phlox.loop.checkpoints._changes import made_of
from phlox.loop.checkpoints._checkpoint import Checkpoint
from phlox.loop.logs._display import ProgressBar
from phlox.loop.logs._files import CSVLogger, JSONLinesLogger
from phlox.loop.logs._history import History
from phlox.loop.logs._throughput import Throughput
from phlox.loop.preflight._fit import check_memory
from phlox.loop.steps._by_output import as_loss
from phlox.loop.steps._clip import Clip
from phlox.loop.steps._objective import Objective, check_loss
from phlox.loop.steps._precision import Precision
from phlox.loop.steps._step import Hooks, OwnStep, Step
from phlox.loop.steps._weighing import as_class_weight
from phlox.optim import Optimizer
from phlox.parallel import data_parallel

WHERE = "px.fit"


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
    checkpoint_dir: str | Path | None = None,
    checkpoint_every: int | str = "epoch",
    resume: bool | str = False,
    memory: str | tuple[str, int] | None = None,
    loss_weights: Any = None,
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
        log_dir: a folder for loggers; ``history.csv`` and ``log.jsonl`` are written there.
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
        devices: ``"all"``, a number or a list of devices to spread batches over; None for one.
        checkpoint_dir, checkpoint_every: where and how often to save: ``"epoch"`` or a number of steps. A
            ``px.Checkpoint`` among the callbacks, in their place, has more to choose.
        resume: go on from the newest checkpoint, if there is one; from the ``"best"``, or from the folder of one.
        memory: ``"check"`` refuses, before the first step, a step that needs more than the device has, and says what
            would help; ``"auto"`` makes it fit where that keeps the numbers, by micro-batches or ``px.remat``.
            ``("check", bytes)`` and ``("auto", bytes)`` set the limit themselves. See ``px.memory``.
        loss_weights: factors of the losses by output, 1 where nothing is said.

    Returns:
        The ``History``; its ``optimizer`` is the one that trained. Ctrl-C ends training behind the step that runs:
        the history then is ``interrupted``, and model and optimiser are those of that step. A second Ctrl-C raises.

    Raises:
        RangeError, StructureError, ShapeError: arguments that mean nothing or do not fit, before the first step.
        Exception: whatever ends training has what was measured until then as its attribute ``history``.
        NotEnoughMemoryError: see ``memory``.

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
    callbacks = as_callbacks(callbacks, WHERE)
    given = {name: value for name, value in locals().items() if name not in ("model", "train_data", "validation_data")}
    interruption = Interruption()
    with interruption.listening():
        loss = as_loss(loss, loss_weights, WHERE)
        _check(model, given | {"loss": loss})
        kind = Precision.of(precision, WHERE)
        kind.prepare(model, optimizer, WHERE)
        if dry_run:
            model, optimizer = copy(model), copy(optimizer) if isinstance(optimizer, Optimizer) else optimizer
            callbacks, steps, checkpoint_dir, log_dir, time_limit, progress = (), 1, None, None, None, False
            limit_batches = accumulate
        if isinstance(optimizer, Optimizer):  # making one looks too
            warn_of_one_array_twice(model)
        opt = optimizer if isinstance(optimizer, Optimizer) else Optimizer(optimizer, model)
        check_optimizer(opt, model, WHERE)
        parallel = None if devices is None else data_parallel(devices)
        objective = Objective(loss or no_loss, as_class_weight(class_weight, WHERE, train_data), WHERE)
        where, masked = f"{WHERE}(train_data)", objective.takes_weights
        train = loader_of(train_data, batch_size, seed, where=where, weight=sample_weight)
        feed = Feed(train, overfit_batches or limit_batches, same=overfit_batches > 0, masked=masked, where=where)
        feed.check()
        where, validation, validation_feed = f"{WHERE}(validation_data)", None, None
        if validation_data is not None:
            validation = loader_of(validation_data, batch_size, None, where=where)
            validation_feed = Feed(validation, limit_batches, masked=masked, where=where)
            validation_feed.check()
        run = Run(
            model,
            opt,
            loader=train,
            validation=validation,
            metrics=as_metrics(metrics, WHERE, loss),
            callbacks=[*callbacks, *_callbacks(time_limit, progress, log_dir, checkpoint_dir, checkpoint_every)],
            epochs=None if steps else epochs,
            steps_per_epoch=_steps_in(feed.count(), accumulate),
            log_dir=log_dir,
            seed=seed,
            interruption=interruption,
            device_count=1 if parallel is None else parallel.count,
            config={name: _plain(value) for name, value in given.items()},
        )
        scale = kind.scale()
        if scale is not None:
            run.moving["guard"] = scale
        run.objective = None if step else objective
        looked = None if step else (feed, train_data)
        later = None if validation_feed is None else (validation_feed, validation_data)
        measured = None if run.metrics is None else run.metrics.metrics
        scalars = rehearsed(model, objective, kind, looked, later, measured)
        saving = [callback for callback in run.callbacks if isinstance(callback, Checkpoint)]
        hooks = _hooks(run)
        plan = Plan(
            step=OwnStep(step, hooks) if step else Step(objective, Clip.of(clip, WHERE), kind, hooks),
            feed=feed,
            objective=objective,
            validation=validation_feed,
            precision=kind,
            train_metrics=run.metrics is not None and not objective.takes_model and step is None,
            steps=steps,
            accumulate=accumulate,
            chunk=None if multi_step == "auto" else int(multi_step),
            validation_every=validation_every,
            resume=(saving[0].store.folder, resume) if resume and saving else None,
            memory=memory,
            parallel=parallel,
            data={"train_data": train_data, "validation_data": validation_data},
        )
        run.names = _names(run, scalars, plan.train_metrics)
        if saving:
            run.made = made_of(model, opt.rule, given, {"train_data": train_data, "validation_data": validation_data})
        return Training(run, plan).go()


def _check(model: Any, given: dict[str, Any]) -> None:
    """Refuse arguments that mean nothing, before anything is made."""
    check_model(model, WHERE)
    for name in ("epochs", "steps", "validation_every", "accumulate", "limit_batches", "batch_size"):
        check_whole(name, given[name], 1, WHERE)
    check_whole("overfit_batches", given["overfit_batches"], 0, WHERE)
    check_memory(given["memory"], WHERE)
    if given["multi_step"] != "auto":
        check_whole("multi_step", given["multi_step"], 1, WHERE)
    if given["step"] is None or given["loss"] is not None:
        check_loss(given["loss"], WHERE)
    if given["step"] is not None:
        ignored = [n for n in ("clip", "precision", "class_weight", "sample_weight") if given[n] is not None]
        ignored += ["accumulate"] if given["accumulate"] > 1 else []
        if ignored:
            fix = f"do it in the step, and leave {', '.join(ignored)} out"
            raise RangeError("your own step alone", got=f"step and {', '.join(ignored)}", fix=fix, where=WHERE)
    check_rule(given["optimizer"], WHERE)
    check_folder("log_dir", given["log_dir"], WHERE)
    saving = any(isinstance(callback, Checkpoint) for callback in given["callbacks"])
    if saving and given["checkpoint_dir"] is not None:
        fix = "leave checkpoint_dir out: the callback has the folder"
        raise RangeError("checkpoint_dir or a px.Checkpoint", got="both", fix=fix, where=WHERE)
    if given["resume"] and not saving and given["checkpoint_dir"] is None:
        fix = "pass the folder of the run to go on with"
        raise RangeError("a checkpoint_dir to resume from", got="none", fix=fix, where=WHERE)


def _callbacks(
    time_limit: Any, progress: Any, log_dir: Any, checkpoint_dir: Any, checkpoint_every: Any
) -> list[Callback]:
    """The callbacks that arguments stand for."""
    found: list[Callback] = []
    if time_limit is not None:
        found.append(TimeLimit(time_limit))
    if log_dir is not None:
        found += [CSVLogger(), JSONLinesLogger()]
    if checkpoint_dir is not None:
        found.append(Checkpoint(checkpoint_dir, every=checkpoint_every))
    if progress is not False:
        found.append(ProgressBar(progress))
    return found


def _hooks(run: Run) -> Hooks:
    """The callbacks that look into the compiled step, and their Modules."""
    hooks = "before_backward", "after_backward", "after_update"
    traced = [c for c in run.callbacks if any(overrides(c, hook) for hook in hooks)]
    names = run.callback_names()
    owners = tuple((c, at, f"{names[c]}.{at}") for c in traced for at in c.modules)
    return Hooks(tuple(traced), owners)


def _names(run: Run, scalars: Iterable[str] | None, train_metrics: bool) -> set[str] | None:
    """The names of all numbers that an epoch will have, None where a callback or a loss may have others."""
    if scalars is None or not all(type(c).__module__.startswith("phlox.") for c in run.callbacks):
        return None
    if any(isinstance(callback, (LambdaCallback, Throughput)) for callback in run.callbacks):
        return None
    measured = () if run.metrics is None else tuple(run.metrics.metrics)
    of_validation = () if run.validation is None else ("loss", *scalars, *measured)
    rate = ("learning_rate",) if any(isinstance(c, ReduceOnPlateau) for c in run.callbacks) else ()
    of_training = ("loss", *scalars, *(measured if train_metrics else ()), *rate)
    return {*of_training, *(f"val_{name}" for name in of_validation)}


def _steps_in(batches: int | None, accumulate: int) -> int | None:
    return None if batches is None else -(-batches // accumulate)


def _plain(value: Any) -> Any:
    """A setting as a JSON-able value."""
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {str(name): _plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return getattr(value, "__name__", None) or repr(value)
