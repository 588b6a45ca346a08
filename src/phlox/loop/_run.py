"""The Run: where a training stands, as callbacks see it and as a checkpoint keeps it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from phlox.core import Module, StructureError, describe, is_key, paths, write_arrays
from phlox.loop._hooked import Hooked, called
from phlox.loop._interruption import Interruption
from phlox.loop._together import LOOKING_ON, Alone
from phlox.loop.callbacks._names import constructed, matched
from phlox.loop.checkpoints._changes import warn_of_changes
from phlox.loop.checkpoints._places import Places, laid
from phlox.loop.checkpoints._plain_state import decoded, encoded
from phlox.loop.logs._history import History
from phlox.loop.steps._ledger import Ledger
from phlox.optim import Optimizer, apart, joined

if TYPE_CHECKING:
    from phlox.loop.steps._objective import Objective


class Run:
    """Where a training stands: the model, its optimiser, and every counter. Callbacks read it and call its methods.

    Attributes:
        model, opt: what is trained, and the optimiser; changed in place from step to step.
        epoch, step, batch: the epoch from 0; optimiser steps done in all; batches done of this epoch.
        epochs, steps_per_epoch: how many there will be, None where nobody knows.
        examples: how many were seen, padding not counted.
        logs: the latest number of each name.
        history: the ``History``, which ``fit`` returns.
        metrics: the ``px.metrics.Metrics`` of the training data, or None.
        loader, validation: what gives the batches.
        callbacks: all of them, in the order in which they run.
        config: the settings of ``fit``, JSON-able.
        log_dir, seed, device_count: as given to ``fit``.
        stopping: whether somebody called ``stop``.
        row: what was logged in the epoch that is going on; it becomes a part of its row in the history.
        fresh: the names of what was logged since callbacks last looked, at the end of an epoch or behind a validation.
        interruption: what Ctrl-C finds.
        together: what it is to the training that there are other processes.
    """

    model: Module
    opt: Optimizer | None
    metrics: Any
    loader: Any
    validation: Any
    callbacks: list[Hooked]
    epochs: int | None
    epoch: int
    steps_per_epoch: int | None
    log_dir: Path | None
    seed: int
    config: dict[str, Any]
    device_count: int
    batch: int
    interruption: Interruption
    together: Alone
    ledger: Ledger
    history: History
    stopping: bool
    epoch_over: bool

    def __init__(
        self,
        model: Module,
        opt: Optimizer | None,
        *,
        loader: Any = None,
        validation: Any = None,
        metrics: Any = None,
        callbacks: Sequence[Hooked] = (),
        epochs: int | None = 1,
        steps_per_epoch: int | None = None,
        log_dir: str | Path | None = None,
        seed: int = 0,
        config: dict[str, Any] | None = None,
        device_count: int = 1,
        interruption: Interruption | None = None,
        together: Alone | None = None,
    ):
        self.model, self.opt, self.metrics = model, opt, metrics
        self.loader, self.validation = loader, validation
        self.callbacks = sorted(callbacks, key=lambda c: c.order)
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch
        self.log_dir = None if log_dir is None else Path(log_dir)
        self.seed, self.config, self.device_count = seed, config or {}, device_count
        self.epoch = self.step = self.batch = self.examples = 0
        self.logs: dict[str, Any] = {}
        self.row: dict[str, Any] = {}
        self.fresh: set[str] = set()
        self.interruption = interruption or Interruption()
        self.together = together or Alone(None)
        self._early: list[tuple[int, dict[str, Any]]] | None = None  # logged before loggers were ready
        self.ledger = Ledger()  # the losses of this epoch
        self._losses: Any = np.zeros(0, np.float32)
        self.history = History()
        self.history.model, self.history.optimizer = model, opt
        self.stopping = False
        self.ended = False  # the last epoch is over
        self.epoch_over = False  # its row is in the history: a resumed run starts with the next one
        self.made: dict[str, Any] = {}  # of what the run was made, for a resumed one to compare with
        self.moving: dict[str, Module] = {}  # what else the engine's steps change, by name: the loss scale
        self.position: Any = None  # of the loader, after the last batch that was used
        self.batches: list[Any] = []  # those of the last chunk
        self.names: set[str] | None = None  # of all numbers that an epoch will have; None where nobody knows
        self.objective: Objective | None = None  # what a step minimises; None for a step of the user's own
        self._seconds_before = 0.0
        self._started = time.perf_counter()
        self.time_steps(afresh=True)

    @property
    def losses(self) -> Any:
        """(steps,) the losses of the last chunk, a NumPy array; asking for them waits for the device."""
        if callable(self._losses):
            self._losses = self._losses()
        return self._losses

    @losses.setter
    def losses(self, losses: Any) -> None:
        self._losses = losses  # or a function of nothing that gives them

    # --- what callbacks call ---------------------------------------------------------------------

    def stop(self, reason: str, *, alone: bool = False) -> None:
        """End training after this chunk of steps; the epoch is closed as usual. The first reason counts.

        Arguments:
            reason: in words, for the history.
            alone: of several processes this one alone may see it, as by its clock; all then end a few steps later.
        """
        if alone and self.together.asks(reason):
            return
        if not self.stopping:
            self.stopping, self.history.reason = True, reason

    def log(self, name: str, value: Any, step: int | None = None) -> None:
        """Give a number to everybody who looks, whichever hook it comes from.

        It is in ``logs``, in the row of its epoch in the history, in ``history.steps``, in every logger's file, and on
        the screen; callbacks that watch a number see it at the end of the epoch, or behind the next validation. Of
        several in one epoch the row has the last.

        Arguments:
            name: what it is called.
            value: a number, or an array, which the history keeps and loggers that know numbers alone pass over.
            step: where it belongs; the present step by default.
        """
        self.record({name: float(value) if np.ndim(value) == 0 else np.asarray(value)}, step)

    def record(self, numbers: dict[str, Any], step: int | None = None) -> None:
        """Give numbers to everybody who looks: see ``log``."""
        at = self.step if step is None else step
        self.logs |= numbers
        self.fresh |= numbers.keys()
        for name, value in numbers.items():
            self.history.add(at, name, value)
        closed = (self.epoch_over or self.ended) and len(self.history)
        row = self.history.epochs[-1] if closed else self.row
        row |= numbers
        self.report(numbers, at)

    def prepare(self) -> None:
        """Loggers are not ready yet: keep what is logged for them."""
        self._early = []

    def begin(self) -> None:
        """Every logger is ready: give them what was logged before."""
        early, self._early = self._early or [], None
        for step, numbers in early:
            self.report(numbers, step)

    def close_row(self, row: dict[str, Any]) -> None:
        """The numbers of an epoch that is over: its row in the history, with what was logged meanwhile."""
        self.logs |= row
        self.fresh |= row.keys()
        self.history.add_epoch({**row, **{name: v for name, v in self.row.items() if name not in row}})
        self.row = {}
        self.report(row, self.step)
        self.epoch_over = True

    def report(self, row: dict[str, Any], step: int) -> None:
        """Give numbers to every logger; arrays to those that have a place for them."""
        if self._early is not None:
            self._early.append((step, row))
            return
        scalars = {name: value for name, value in row.items() if np.ndim(value) == 0}
        arrays = {name: value for name, value in row.items() if name not in scalars}
        for callback in self.callbacks:
            if scalars:
                callback.log_scalars(step, scalars)
            if arrays:
                callback.log_arrays(step, arrays)

    def callback_names(self) -> dict[Hooked, str]:
        """The name of each callback in a checkpoint."""
        return {callback: name for name, callback in self._named_callbacks().items()}

    def next_epoch(self) -> None:
        """Stand at the beginning of the next epoch."""
        self.epoch, self.batch, self.epoch_over = self.epoch + 1, 0, False
        self.fresh.clear()

    def call(self, hook: str, *args: Any) -> None:
        """Call a hook on every callback, in their order."""
        for callback in self.callbacks:
            called(callback, hook, self, *args, at=f", epoch {self.epoch + 1}, step {self.step}")

    def call_all(self, hook: str, *args: Any, failure: BaseException | None = None) -> None:
        """Call a hook on every callback, also where it fails on one.

        Raises:
            BaseException: the first that a callback raised; notes on ``failure`` where there is one, which goes on.
        """
        first = None
        for callback in self.callbacks:
            try:
                called(callback, hook, self, *args, at=f", epoch {self.epoch + 1}, step {self.step}")
            except BaseException as error:
                if failure is not None:
                    failure.add_note(f"then {type(callback).__name__}.{hook} failed: {type(error).__name__}: {error}")
                first = first or error
        if first is not None and failure is None:
            raise first

    # --- time ------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Seconds of training, those before a resume included."""
        return self._seconds_before + time.perf_counter() - self._started

    @property
    def examples_per_second(self) -> float:
        """Examples trained on per second in this epoch, compilation and validation left out; 0 where nobody knows."""
        start, before = self._timed_from
        elapsed = self._timed_to - start
        return (self.examples - before) / elapsed if elapsed > 0 else 0.0

    def time_steps(self, *, afresh: bool = False) -> None:
        """Take the time of the examples so far, or begin anew behind them: at an epoch, and when a step is compiled."""
        self._timed_to = time.perf_counter()
        if afresh:
            self._timed_from = self._timed_to, self.examples

    # --- what a checkpoint keeps -----------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that decides how the run goes on, as ``{"arrays": …, "values": …}``.

        ``arrays`` is a dict of dicts from path to array: of the ``model``, the ``opt``, the ``metrics``, the losses so
        far, and of each callback. Random keys are in it as their data. ``values`` is JSON-able. Call it from a hook
        outside the compiled step.
        """
        keys: dict[str, dict[str, str]] = {}
        arrays: dict[str, dict[str, Any]] = {}
        for part, module in self._modules().items():
            arrays[part], keys[part] = _without_keys(_arrays_of(module))
        arrays["history"] = {"losses": self.history.losses}
        arrays["epoch"] = self.ledger.state()
        values: dict[str, Any] = {
            "format": 1,
            "encoded": True,  # callbacks' state and history: any form, and not JSON's alone
            "epoch": self.epoch,
            "epoch_over": self.epoch_over,
            "batch": self.batch,
            "step": self.step,
            "examples": self.examples,
            "seconds": self.seconds,
            "seed": self.seed,
            "logs": encoded(self.logs, arrays["history"], "logs", "Run.state"),
            "row": encoded(self.row, arrays["history"], "row", "Run.state"),
            "history": encoded(self.history.state(), arrays["history"], "history", "Run.state"),
            "made": self.made,
            "loader": encoded(self.position, arrays["history"], "loader", "Run.state"),
            "keys": {part: names for part, names in keys.items() if names},
            "callbacks": {},
            "constructed": {},
            "keeping": [],  # callbacks that decide how the run goes on
        }
        modules = self._modules()
        for name, callback in self._named_callbacks().items():
            held: dict[str, Any] = {}
            values["callbacks"][name] = encoded(callback.state(), held, "state", f"{type(callback).__name__}.state")
            values["constructed"][name] = constructed(callback)
            holds = values["callbacks"][name] or any(f"{name}.{at}" in modules for at in callback.modules)
            if holds and callback.order < LOOKING_ON:
                values["keeping"].append(name)
            if held:
                arrays[f"{name}.state"] = held
        return {"arrays": arrays, "values": values}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` gave: model, optimiser, metrics, callbacks and counters change in place.

        Callbacks are told by class and arguments; one that the state does not know starts afresh. A warning tells what
        else of the run is not as it was. Nothing is changed where an error is raised.

        Raises:
            StructureError: the state is that of another model, optimiser or set of metrics, or of callbacks of one
                class that cannot be told apart.
        """
        arrays, values = state["arrays"], state["values"]
        callbacks, names = self._named_callbacks(), self._names_in(state)
        states = {name: _state_of(state, theirs) for name, theirs in names.items()}
        for name, callback_state in states.items():
            callbacks[name].prepare(self, callback_state)
        found = {part: module for part, module in self._modules(names).items() if part in arrays}
        missing = [part for part in ("model", "opt") if part in self._modules() and part not in found]
        if missing:
            raise StructureError(
                "a state with " + " and ".join(missing), got=f"one with {', '.join(arrays)}",
                fix="pass what run.state() gave", where="Run.restore",
            )  # fmt: skip
        new = {}
        for part, module in found.items():
            new[part] = _with_keys(arrays[part], values["keys"].get(part, {}))
            if isinstance(module, Optimizer):
                new[part] = joined(module, new[part])
            _check_alike(part, paths(module), new[part])
        for part, module in found.items():
            there = paths(module)
            write_arrays(module, {path: laid(v, there[path]) for path, v in new[part].items()})
        for name in ("epoch", "epoch_over", "batch", "step", "examples", "seed"):
            setattr(self, name, values[name])
        beside = arrays["history"]
        self.logs, self.row = decoded(values["logs"], beside), {**decoded(values.get("row", {}), beside), **self.row}
        self.position = decoded(values["loader"], beside)
        self.history.restore(decoded(values["history"], beside))
        self.history._losses = [np.asarray(arrays["history"]["losses"])]
        self.ledger.restore(arrays.get("epoch", {}))
        self._seconds_before, self._started = values["seconds"], time.perf_counter()
        self.time_steps(afresh=True)
        for name, callback_state in states.items():
            callbacks[name].restore(callback_state)
        warn_of_changes(self.made, values.get("made"))

    def places(self) -> Places:
        """Where what ``restore`` takes is to lie, so that each process reads no more than its devices hold."""
        return Places({part: _arrays_of(module) for part, module in self._modules().items()})

    def _names_in(self, state: dict[str, Any]) -> dict[str, str]:
        """The name in a state of each callback that it knows, by the name it has here."""
        ours, values = self._named_callbacks(), state["values"]
        if "constructed" not in values:  # of a version that told callbacks by their order
            return {name: name for name in ours if name in values["callbacks"]}
        return matched(ours, values["constructed"], set(values["keeping"]))

    def _modules(self, names: dict[str, str] | None = None) -> dict[str, Module]:
        """Every Module that the run changes, by name; those of callbacks under ``names`` where these are given."""
        found = {"model": self.model, "opt": self.opt, "metrics": self.metrics, **self.moving}
        for name, callback in self._named_callbacks().items():
            if names is None or name in names:
                known = name if names is None else names[name]
                found |= {f"{known}.{attribute}": getattr(callback, attribute) for attribute in callback.modules}
        return {name: module for name, module in found.items() if module is not None}

    def _named_callbacks(self) -> dict[str, Hooked]:
        """Callbacks by class, counted where there are several of one class: ``EMA``, ``EMA#2``."""
        named: dict[str, Hooked] = {}
        for callback in self.callbacks:
            kind, n = type(callback).__name__, 1
            while (kind if n == 1 else f"{kind}#{n}") in named:
                n += 1
            named[kind if n == 1 else f"{kind}#{n}"] = callback
        return named

    def __repr__(self) -> str:
        of = "" if self.epochs is None else f" of {self.epochs}"
        return f"Run({type(self.model).__name__}, epoch {self.epoch + 1}{of}, step {self.step})"


def _state_of(state: dict[str, Any], name: str) -> dict[str, Any]:
    """What a callback's ``state()`` gave, by its name in a run's state."""
    kept, held = state["values"]["callbacks"][name], state["arrays"].get(f"{name}.state", {})
    return decoded(kept, held) if state["values"].get("encoded") else {**kept, **held}


def _arrays_of(module: Module) -> dict[str, Any]:
    """The arrays of a Module by path, as a state has them: an optimiser's each by itself."""
    return apart(module) if isinstance(module, Optimizer) else paths(module)


def _without_keys(arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Arrays with random keys as their data, and the kinds of these keys by path."""
    kinds = {path: str(jax.random.key_impl(v)) for path, v in arrays.items() if is_key(v)}
    return {path: jax.random.key_data(v) if path in kinds else v for path, v in arrays.items()}, kinds


def _with_keys(arrays: dict[str, Any], kinds: dict[str, str]) -> dict[str, Any]:
    return {
        path: jax.random.wrap_key_data(jax.numpy.asarray(v), impl=kinds[path]) if path in kinds else v
        for path, v in arrays.items()
    }


def _check_alike(part: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Refuse arrays of other paths, shapes or dtypes than the part has."""
    shown = dict.fromkeys((*ours, *theirs), ("nothing", "nothing"))
    shown |= {path: (describe(v), "nothing") for path, v in ours.items()}
    shown |= {path: (shown[path][0], describe(v)) for path, v in theirs.items()}
    differences = [f"{path} expects {ours}, got {theirs}" for path, (ours, theirs) in shown.items() if ours != theirs]
    if differences:
        more = [f"… and {len(differences) - 12} more"] if len(differences) > 12 else []
        raise StructureError(
            f"the arrays of this run's {part}",
            got="others:\n" + "\n".join("    " + line for line in [*differences[:12], *more]),
            fix="restore into a run built as the saved one was; px.load_checkpoint(…, strict=False) takes what fits",
            where="Run.restore",
        )
