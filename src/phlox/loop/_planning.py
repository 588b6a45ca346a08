"""From settings to what is to be done: optimiser, data, run and plan, each in a function of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from phlox.core import Module, RangeError, copy, describe, warn_of_one_array_twice
from phlox.loop._checks import check_optimizer
from phlox.loop._evaluate import as_metrics, no_loss
from phlox.loop._hooked import Hooked, called
from phlox.loop._interruption import Interruption
from phlox.loop._run import Run
from phlox.loop._settings import WHERE, Settings
from phlox.loop._together import Alone
from phlox.loop._training import Plan
from phlox.loop.batches._feed import Feed
from phlox.loop.batches._loading import loader_of
from phlox.loop.batches._rehearsal import rehearsed
from phlox.loop.callbacks._callback import Callback, overrides
from phlox.loop.callbacks._limits import TimeLimit
from phlox.loop.checkpoints._changes import made_of
from phlox.loop.checkpoints._checkpoint import Checkpoint
from phlox.loop.logs._display import ProgressBar
from phlox.loop.logs._files import CSVLogger, JSONLinesLogger
from phlox.loop.steps._clip import Clip
from phlox.loop.steps._objective import Objective
from phlox.loop.steps._precision import Precision
from phlox.loop.steps._step import Hooks, OwnStep, Step
from phlox.loop.steps._weighing import as_class_weight
from phlox.loop.tracking._record import RunRecord
from phlox.optim import Optimizer
from phlox.parallel import Placement


@dataclass(frozen=True)
class Task:
    """What a training minimises and measures on which data, in which precision, on which devices."""

    objective: Objective
    precision: Precision
    clip: Clip
    metrics: Any
    together: Alone
    feed: Feed
    validation: Feed | None
    data: Mapping[str, Any]  # as it was given, by the name of its argument

    @property
    def parallel(self) -> Placement | None:
        """How devices share the work."""
        return self.together.placement


def task_of(settings: Settings, data: Mapping[str, Any], together: Alone) -> Task:
    """What the loss, the data and the devices come to; refused before anything of the user's is changed.

    Arguments:
        data: ``train_data`` and ``validation_data`` as given.
        together: where it is done, and what it is to that that there are other processes.
    """
    precision = Precision.of(settings.precision, WHERE)
    weights = as_class_weight(settings.class_weight, WHERE, data["train_data"])
    objective = Objective(settings.whole_loss or no_loss, weights, WHERE)
    masked = objective.takes_weights
    feed = _training_feed(settings, data["train_data"], masked)
    validation = _validation_feed(settings, data["validation_data"], masked)
    metrics = as_metrics(settings.metrics, WHERE, settings.whole_loss)
    return Task(objective, precision, Clip.of(settings.clip, WHERE), metrics, together, feed, validation, data)


def model_and_optimizer(model: Module, settings: Settings, task: Task) -> tuple[Module, Optimizer]:
    """The model that is trained, made ready for the precision, and its optimiser, made where a rule was given.

    Copies of both for a dry run. Over several devices the model is spread first, so that the state of its optimiser is
    made where it belongs.
    """
    optimizer = settings.optimizer
    if settings.dry_run:
        model, optimizer = copy(model), copy(optimizer) if isinstance(optimizer, Optimizer) else optimizer
    task.precision.prepare(model, optimizer, WHERE)
    task.together.look({"model": model, "opt": optimizer})
    if task.parallel is not None:
        task.parallel.place(model)
    if isinstance(optimizer, Optimizer):  # making one looks too
        warn_of_one_array_twice(model)
    else:
        optimizer = Optimizer(optimizer, model)
    check_optimizer(optimizer, model, WHERE)
    if task.parallel is not None:
        task.parallel.place(model, optimizer)
    return model, optimizer


def _training_feed(settings: Settings, data: Any, masked: bool) -> Feed:
    where, same = f"{WHERE}(train_data)", settings.overfit_batches
    loader = loader_of(data, settings.batch_size, settings.seed, where=where, weight=settings.sample_weight)
    feed = Feed(loader, same or settings.limit_batches, same=same > 0, masked=masked, where=where)
    feed.check()
    return feed


def _validation_feed(settings: Settings, data: Any, masked: bool) -> Feed | None:
    if data is None:
        return None
    where = f"{WHERE}(validation_data)"
    loader = loader_of(data, settings.batch_size, None, where=where)
    feed = Feed(loader, settings.limit_batches, masked=masked, where=where)
    feed.check()
    return feed


def run_of(
    model: Module, opt: Optimizer, task: Task, settings: Settings, config: dict[str, Any], interruption: Interruption
) -> Run:
    """The run, at its beginning.

    Arguments:
        config: the settings to log; those of a dry run as its user gave them.
        interruption: what Ctrl-C finds.
    """
    run = Run(
        model,
        opt,
        loader=task.feed.loader,
        validation=None if task.validation is None else task.validation.loader,
        metrics=task.metrics,
        callbacks=task.together.those_here([*settings.callbacks, *_implied(settings)]),
        epochs=None if settings.steps else settings.epochs,
        steps_per_epoch=_steps_in(task.feed.count(), settings.accumulate),
        log_dir=settings.log_dir,
        seed=settings.seed,
        device_count=1 if task.parallel is None else task.parallel.count,
        config=config,
        interruption=interruption,
        together=task.together,
    )
    scale = task.precision.scale()
    if scale is not None:
        run.moving["guard"] = scale
    run.objective = None if settings.step else task.objective
    return run


def _implied(settings: Settings) -> list[Callback]:
    """The callbacks that other arguments stand for."""
    found: list[Callback] = []
    if settings.time_limit is not None:
        found.append(TimeLimit(settings.time_limit))
    if settings.log_dir is not None:
        found += [CSVLogger(), JSONLinesLogger(), RunRecord()]
    if settings.checkpoint_dir is not None:
        found.append(Checkpoint(settings.checkpoint_dir, every=settings.checkpoint_every))
    if settings.progress is not False:
        found.append(ProgressBar(settings.progress))
    return found


def _steps_in(batches: int | None, accumulate: int) -> int | None:
    return None if batches is None else -(-batches // accumulate)


def look_at_first_batches(run: Run, task: Task, settings: Settings) -> list[str] | None:
    """Look at the first batches; what else the loss logs, None where that is not known."""
    train = None if settings.step else (task.feed, task.data["train_data"])
    validation = None if task.validation is None else (task.validation, task.data["validation_data"])
    metrics = None if run.metrics is None else run.metrics.metrics
    return rehearsed(run.model, task.objective, task.precision, train, validation, metrics)


def plan_of(run: Run, task: Task, settings: Settings) -> Plan:
    """What the engine is to do."""
    hooks, folder = _hooks(run), _folder(settings)
    objective, own, placement = task.objective, settings.step, task.parallel
    return Plan(
        step=OwnStep(own, hooks, placement=placement)
        if own
        else Step(objective, task.clip, task.precision, hooks, placement=placement),
        feed=task.feed,
        objective=objective,
        validation=task.validation,
        precision=task.precision,
        train_metrics=run.metrics is not None and not objective.takes_model and own is None,
        steps=settings.steps,
        accumulate=settings.accumulate,
        chunk=None if settings.multi_step == "auto" else int(settings.multi_step),
        validation_every=settings.validation_every,
        resume=(folder, settings.resume) if settings.resume and folder is not None else None,
        memory=settings.memory,
        together=task.together,
        saving=folder is not None,
        data=dict(task.data),
    )


def _folder(settings: Settings) -> Any:
    """The folder of the checkpoints, also where another process writes them; None without any."""
    given = [callback.store.address for callback in settings.callbacks if isinstance(callback, Checkpoint)]
    return given[0] if given else settings.checkpoint_dir


def _hooks(run: Run) -> Hooks:
    """The callbacks that look into the compiled step, and their Modules."""
    hooks = "before_backward", "after_backward", "after_update"
    traced = [c for c in run.callbacks if any(overrides(c, hook) for hook in hooks)]
    names = run.callback_names()
    owners = tuple((c, at, f"{names[c]}.{at}") for c in traced for at in c.modules)
    return Hooks(tuple(traced), owners)


def logged_names(run: Run, scalars: Iterable[str] | None, train_metrics: bool) -> set[str] | None:
    """The names of all numbers that an epoch will have, None where a callback or a loss may have others.

    Arguments:
        scalars: what else the loss logs, None where that is not known.
        train_metrics: whether the training data's metrics are taken.
    """
    told = [_told_by(callback) for callback in run.callbacks]
    by_callbacks = [names for names in told if names is not None]
    if scalars is None or len(by_callbacks) < len(told):
        return None
    measured = () if run.metrics is None else tuple(run.metrics.metrics)
    of_validation = () if run.validation is None else ("loss", *scalars, *measured)
    of_training = ("loss", *scalars, *(measured if train_metrics else ()))
    return {*of_training, *(f"val_{name}" for name in of_validation), *(n for names in by_callbacks for n in names)}


def _told_by(callback: Hooked) -> Collection[str] | None:
    """The names that a callback says it logs, None where its own class does not say."""
    if "logged_names" not in vars(type(callback)):
        return None
    names = called(callback, "logged_names")
    if names is None or (not isinstance(names, str) and isinstance(names, Collection)):
        return names
    raise RangeError(
        "a list of names, or None where they are not known", got=describe(names),
        fix=f"return [{names!r}]" if isinstance(names, str) else "return a list of what it gives to run.log",
        where=f"{type(callback).__name__}.logged_names",
    )  # fmt: skip


def note_origin(run: Run, task: Task, settings: Settings) -> None:
    """Where the run is saved, or is one of several processes, note what it was made of, to be compared with."""
    if (_folder(settings) is not None or task.together.several) and run.opt is not None:
        feeds = {"train_data": task.feed, "validation_data": task.validation}
        data = {name: (given, feeds[name]) for name, given in task.data.items()}
        run.made = made_of(run.model, run.opt.rule, settings.given(), data)
