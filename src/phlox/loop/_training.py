"""The engine of fit: epochs, chunks of steps, validation, and the callbacks between them."""

from __future__ import annotations

import functools
import itertools
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from phlox.loop._evaluate import computed, evaluated
from phlox.loop._hooked import Hooked
from phlox.loop._interruption import OPEN
from phlox.loop._run import Run
from phlox.loop._together import Alone
from phlox.loop._warning import warn
from phlox.loop.batches._batch import Slot, alone
from phlox.loop.batches._feed import Fed, Feed
from phlox.loop.batches._first_look import where_nan
from phlox.loop.callbacks._callback import Callback
from phlox.loop.logs._history import History
from phlox.loop.preflight._fit import step_that_fits
from phlox.loop.steps._chunk import MOST, Part, Program, program, slots_for
from phlox.loop.steps._objective import Objective
from phlox.loop.steps._precision import AS_IT_IS, Precision
from phlox.loop.steps._step import Others, OwnStep, Step, Sums
from phlox.parallel import Placement


@dataclass
class Plan:
    """What ``fit`` was asked for, checked."""

    step: Step | OwnStep
    feed: Feed
    objective: Objective  # of validation
    precision: Precision = AS_IT_IS
    train_metrics: bool = False  # whether the training data's metrics are taken
    validation: Feed | None = None
    steps: int | None = None  # in all; None: as many as there are in the epochs
    accumulate: int = 1
    chunk: int | None = None  # steps in one call; None: as many as pay
    validation_every: int = 1  # epochs, or steps where ``steps`` says how many there are
    resume: tuple[Any, Any] | None = None  # the folder of checkpoints, and which
    memory: Any = None  # whether it is checked, or chosen, what a step needs
    together: Alone = field(default_factory=lambda: Alone(None))  # what there is to the other processes
    saving: bool = False  # whether there are checkpoints to be written
    data: dict[str, Any] = field(default_factory=dict)  # as it was given, by the name of its argument

    @property
    def parallel(self) -> Placement | None:
        """How devices share the work."""
        return self.together.placement


class Training:
    """Runs a plan on a ``Run``: ``go()`` is the whole of ``fit`` once everything is prepared."""

    def __init__(self, run: Run, plan: Plan):
        assert run.opt is not None
        self.run, self.plan, self.opt = run, plan, run.opt
        self.pace = Pace()
        self.program: Program | None = None  # once the first batch is there
        self.sums: Sums | None = None
        self.warned = self.warned_of_validation = False  # of a loss that is not finite

    def go(self) -> History:
        """Train to the end, to Ctrl-C, or to the exception, which has the history as its ``history``."""
        run = self.run
        for callback in run.callbacks:
            callback.check_run(run)
        self.plan.together.begin(run, self.plan.feed, self.plan.saving)
        run.interruption.wait()
        try:
            with run.interruption.at(OPEN):  # what came before
                pass
            self.train()
        except BaseException as error:
            with suppress(Exception):  # an exception may have no room for it
                error.history = run.history  # pyright: ignore[reportAttributeAccessIssue]
            raise
        return run.history

    def train(self) -> None:
        """The whole training, its ends included."""
        run = self.run
        run.prepare()
        try:
            run.call("on_fit_start")
            if self.plan.resume is not None:
                self.resume(*self.plan.resume)
            run.begin()
            while not self.over():
                self.epoch()
            if not run.stopping:
                run.history.reason = f"{run.step} steps" if self.plan.steps else f"{run.epoch} epochs"
        except BaseException as found:
            error = self.plan.together.told_of(found)
            self.broken_off(error)
            if error is not found:
                raise error from found
            if not isinstance(error, KeyboardInterrupt) or run.interruption.forced:
                raise
            return
        run.ended = True
        run.call_all("on_fit_end")
        run.history.interrupted = run.interruption.number is not None

    def broken_off(self, error: BaseException) -> None:
        """End training with an exception: callbacks are told, and the history keeps the steps that were taken."""
        run = self.run
        run.interruption.wait()
        interrupted = isinstance(error, KeyboardInterrupt)
        where = f"at step {run.step}, in epoch {run.epoch + 1}"
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        run.history.reason = f"{run.interruption.name or 'KeyboardInterrupt'} {where}" if interrupted else told
        run.history.interrupted = interrupted
        run.call_all("on_exception", error, failure=error)
        run.ended = True
        run.call_all("on_fit_end", failure=error)
        with suppress(Exception):  # what failed may have taken the numbers with it
            self.keep_open_epoch()
        if interrupted and not any(error.args) and not run.interruption.forced and self.plan.together.first:
            text = f"px.fit: {run.history.reason}: model, optimiser and history are those of this step"
            print(text, file=sys.stderr, flush=True)

    def keep_open_epoch(self) -> None:
        """Give the history what there is of an epoch that was broken off."""
        run = self.run
        losses = run.ledger.column("loss")
        if run.epoch_over or not (losses.size or run.row):
            return
        row = {"epoch": run.epoch, "step": run.step, **run.ledger.means()}
        if self.plan.train_metrics and losses.size:
            row |= numbers_of(computed(run.metrics))
        run.history.add_losses(losses)
        run.history.add_epoch({**row, **{name: v for name, v in run.row.items() if name not in row}})

    def resume(self, folder: Any, which: Any) -> None:
        """Stand where a checkpoint was made."""
        from phlox.loop.checkpoints._load import resume_run

        run = self.run
        if resume_run(run, folder, which) is None:
            return
        if run.position is not None:
            self.plan.feed.restore(run.position, over=run.epoch_over)
        if run.epoch_over:
            run.next_epoch()
        elif run.batch:
            self.catch_up()

    def catch_up(self) -> None:
        """Do what followed the last step before a checkpoint: its validation, and the end of the training."""
        run = self.run
        at, row = run.history.steps[-1] if run.history.steps else (0, {})
        if self.validation_follows() and not (at == run.step and any(name.startswith("val_") for name in row)):
            self.validate_inside()
        if self.over():
            self.close_epoch()

    def over(self) -> bool:
        """Whether training is at its end."""
        run = self.run
        done = run.step >= self.plan.steps if self.plan.steps else run.epoch >= (run.epochs or 0)
        return run.stopping or done

    def epoch(self) -> None:
        """One epoch, or what is left of it."""
        run, plan = self.run, self.plan
        run.call("on_epoch_start")
        run.time_steps(afresh=True)
        self.sums = Sums(run.model) if plan.accumulate > 1 else None  # what is trained may be another part now
        self.settle()
        for chunk in self.chunks():
            run.call("on_step_start")
            self.take(chunk)
            run.call("on_step_end")
            plan.together.leave(run)
            if self.validation_follows():
                self.validate_inside()
            if self.over():
                break
        self.close_epoch()

    def chunks(self) -> Iterator[list[Fed]]:
        """The batches of the epoch in chunks of whole steps, each as long as nobody wants control."""
        feed = self.plan.feed
        feed = self.run.interruption.opened(feed.epoch(self.run.batch, self.slots()), careful=feed.is_ours)
        for first in feed:
            wanted = self.steps_until_control(first.batch) * self.plan.accumulate
            yield [first, *itertools.islice(feed, wanted - 1)]

    def slots(self) -> int:
        """How many batches the loader is to gather at once: as many as one call takes."""
        feed, accumulate = self.plan.feed, self.plan.accumulate
        if not feed.stackable or self.plan.parallel is not None:
            return 1
        if self.program is None:
            self.program = self.compiled(feed.example)
        return self.program.slots // accumulate * accumulate or self.program.slots

    def steps_until_control(self, batch: Any) -> int:
        """How many steps to take before callbacks run again."""
        run, plan = self.run, self.plan
        if self.program is None:
            self.program = self.compiled(batch)
        if plan.together.several:  # whose clocks would make chunks of their own
            return 1
        slots = batch.left if isinstance(batch, Slot) else self.program.slots
        asked = [callback.steps_until(run) for callback in run.callbacks]
        if plan.steps:
            asked.append(plan.steps - run.step)
            asked.append(plan.validation_every - run.step % plan.validation_every if plan.validation else None)
        asked.append(plan.chunk or min(self.pace.steps, slots // plan.accumulate or MOST))
        return max(1, min(n for n in asked if n is not None))

    def compiled(self, batch: Any) -> Program:
        """The program of a step; in a loop where that pays, and where no callback looks at every step."""
        run, plan = self.run, self.plan
        watched = any(callback.steps_until(run) == 1 and looks_always(callback) for callback in run.callbacks)
        steps = 1 if watched and plan.chunk is None else plan.chunk
        others, batch = self.others(), self.placed(batch)
        several = plan.together.several
        slots = 1 if several else slots_for(steps, plan.accumulate, plan.step, run.model, self.opt, others, batch)
        plan.step, slots = step_that_fits(plan.memory, plan.step, slots, run.model, self.opt, others, batch)
        keep = not plan.step.hooks.callbacks  # a program with hooks would keep its callbacks alive
        made = program(plan.step, slots) if keep else Program(plan.step, slots)
        last = None if plan.accumulate == 1 else np.bool_(True)
        plan.together.agree(run, lambda: made.single.lower(run.model, self.opt, others, batch, last).as_text())
        return made

    def settle(self) -> None:
        """Put everything that a step changes where it belongs; what was made anew since lies on one device."""
        if self.plan.parallel is not None:
            self.plan.parallel.place(self.run.model, self.opt, *self.others().values())

    def placed(self, batch: Any) -> Any:
        """A training batch where the step wants it."""
        return self.plan.together.spread(batch, self.plan.feed)

    def others(self) -> Others:
        """What else a step changes."""
        owned = {name: getattr(callback, at) for callback, at, name in self.plan.step.hooks.owners}
        found = {**owned, **self.run.moving, "sums": self.sums}
        if self.plan.train_metrics:
            found["metrics"] = self.run.metrics
        return {name: module for name, module in found.items() if module is not None}

    def take(self, chunk: Sequence[Fed]) -> None:
        """Hand a chunk to the device, and move every counter."""
        run, accumulate = self.run, self.plan.accumulate
        assert self.program is not None
        ends = [(run.batch + n + 1) % accumulate == 0 or fed.last for n, fed in enumerate(chunk)]
        batches, flags = [fed.batch for fed in chunk], None if accumulate == 1 else ends
        together, feed = self.plan.together, self.plan.feed
        placed, count = [self.placed(batch) for batch in batches], sum(together.examples(b, feed) for b in batches)
        together.enter(run)
        with run.interruption.moving():
            parts = self.program(run.model, self.opt, self.others(), placed, flags)
            run.ledger.add(parts)
            run.step += sum(ends)
            run.batch += len(chunk)
            run.examples += count
            run.batches, run.position = batches, chunk[-1].position
            run.losses = lambda: self.losses_of(parts)
        together.after(run)
        self.watch()
        with run.ledger.waits():
            self.pace.note(parts, sum(ends))
        run.time_steps(afresh=self.pace.first)

    def losses_of(self, parts: Sequence[Part]) -> np.ndarray[Any, Any]:
        """(steps,) the losses of a chunk; waits for the device."""
        with self.run.ledger.waits():
            return np.concatenate([part.numbers().loss for part in parts])

    def close_epoch(self) -> None:
        """Means, metrics and validation of an epoch, and its row in the history."""
        run, plan = self.run, self.plan
        row: dict[str, Any] = {"epoch": run.epoch, "step": run.step, **run.ledger.means()}
        run.time_steps()
        self.watch(over=True)
        if plan.train_metrics and run.metrics is not None:
            row |= numbers_of(computed(run.metrics))
        run.logs |= row
        if plan.validation and self.validation_is_due():
            row |= self.validate()  # a checkpoint made meanwhile has the epoch as it was behind its last step
        run.history.add_losses(run.ledger.column("loss"))
        run.ledger.clear()
        if plan.train_metrics and run.metrics is not None:
            run.metrics.reset()
        run.close_row(row)
        run.call("on_epoch_end")
        run.next_epoch()

    def watch(self, *, over: bool = False) -> None:
        """Warn, once, of a loss that is not finite; only losses that are on the host already are looked at."""
        run, ledger, bad = self.run, self.run.ledger, self.run.ledger.bad
        if self.warned:
            return
        if bad is None:
            if over and "guard" in run.moving and ledger.fetched and ledger.left_out == ledger.fetched:
                self.warned = True
                message = (
                    f"px.fit: no step of epoch {run.epoch + 1} was taken: the gradients of all {ledger.fetched} are "
                    "not finite. Compute in bf16 or float32, and look at the data."
                )
                warn(message)
            return
        self.warned, losses = True, run.ledger.column("loss")
        at = run.step - len(losses) + bad + 1
        cure = self.spoiled_data("train_data") or (
            "Lower the learning rate, or clip the gradients with clip=1.0; callbacks=[px.StopOnNonFinite()] ends "
            "training there and names the layer. A loss of classes is nan where a label is not in 0 … classes - 1."
        )
        message = f"px.fit: the loss of step {at}, in epoch {run.epoch + 1}, is {losses[bad]}. {cure}"
        warn(message)  # where fit was called

    def spoiled_data(self, name: str) -> str:
        """What to do about data that is not finite, where it can be looked at; else nothing."""
        given = self.plan.data.get(name)
        at_hand = isinstance(given, tuple | list | dict | np.ndarray | jax.Array)
        found = where_nan(given, name) if at_hand else ""
        if not found and name == "train_data":
            found = where_nan([alone(batch) for batch in self.run.batches], "the last batches")
        return f"{found}. Leave these out, or fill them in, for example with px.data.TableEncoder." if found else ""

    def watch_validation(self, found: dict[str, Any]) -> None:
        """Warn, once, of a loss of validation that is not finite."""
        loss = found.get("loss", 0.0)
        if np.isfinite(loss) or self.warned_of_validation or self.warned:
            return
        self.warned_of_validation = True
        cure = self.spoiled_data("validation_data") or (
            "A loss of classes is nan where a label is not in 0 … classes - 1; else the model says what is not finite."
        )
        message = f"px.fit: the loss of validation behind step {self.run.step} is {loss}. {cure}"
        warn(message)

    def validate_inside(self) -> None:
        """Validation in the middle of an epoch; its numbers go wherever those of an epoch go."""
        run = self.run
        run.record(self.validate())
        run.call("on_validation_logged")
        run.fresh.clear()

    def validation_follows(self) -> bool:
        """Whether the step that was just taken is followed by validation."""
        plan = self.plan
        return bool(plan.steps and plan.validation) and self.run.step % plan.validation_every == 0

    def validation_is_due(self) -> bool:
        """Whether an epoch that is over is followed by validation."""
        if self.plan.steps:
            return self.over() and self.run.step % self.plan.validation_every != 0
        return (self.run.epoch + 1) % self.plan.validation_every == 0

    def validate(self) -> dict[str, Any]:
        """Go through the validation data; what it logged."""
        run, plan = self.run, self.plan
        assert plan.validation is not None
        run.call("on_validation_start")
        opened = functools.partial(run.interruption.opened, careful=plan.validation.is_ours)
        measures = plan.validation, plan.objective, run.metrics, plan.precision
        found = evaluated(run.model, *measures, plan.parallel, lambda feed: plan.together.validating(opened(feed)))
        self.watch_validation(found)
        logs = {f"val_{name}": value for name, value in numbers_of(found).items()}
        run.logs |= logs
        run.call("on_validation_end")
        return {name: run.logs[name] for name in logs}  # callbacks may have put another one in its place


def numbers_of(found: dict[str, Any]) -> dict[str, Any]:
    """Numbers and arrays by name; what a metric gives together, such as the points of a curve, each by its own name."""
    flat: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, dict):
            parts = value
        elif isinstance(value, tuple):
            names: Any = getattr(value, "_fields", range(len(value)))
            parts = dict(zip(names, value, strict=True))
        else:
            flat[name] = value
            continue
        flat |= numbers_of({f"{name}_{part}": v for part, v in parts.items()})
    return {name: float(v) if isinstance(v, np.ndarray) and not v.ndim else v for name, v in flat.items()}


def looks_always(callback: Hooked) -> bool:
    """Whether a callback gets control at every step, because it does not say when it wants it."""
    kind = type(callback)
    return kind.steps_until is Callback.steps_until


class Pace:
    """How many steps make one chunk: some 50 ms of work, so that a chunk is soon over and its overhead small.

    It also keeps the host from running far ahead of the device.
    """

    def __init__(self, seconds: float = 0.05, ahead: int = 2):
        self.seconds, self.ahead, self.steps = seconds, ahead, 1
        self.flying: deque[tuple[Part, int]] = deque()
        self.calls, self.before = 0, 0.0

    @property
    def first(self) -> bool:
        """Whether no more than one call was handed over, which has waited for the compiler."""
        return self.calls + len(self.flying) <= 1

    def note(self, parts: Sequence[Part], steps: int) -> None:
        """A chunk was handed over; waits for an older one where there are too many."""
        if not parts:
            return
        self.flying.append((parts[-1], steps))
        while len(self.flying) > self.ahead:
            part, done = self.flying.popleft()
            jax.block_until_ready(part.record.loss)
            now = time.perf_counter()
            if self.calls > 1:  # the first calls wait for the compiler
                self.steps = max(1, min(2 * self.steps, int(self.seconds * done / max(now - self.before, 1e-9))))
            self.calls, self.before = self.calls + 1, now
