"""The callback that saves a run while it goes on."""

from __future__ import annotations

import math
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from phlox.core import RangeError
from phlox.loop._interruption import Interruption
from phlox.loop.callbacks._callback import Callback
from phlox.loop.callbacks._monitor import Monitor
from phlox.loop.checkpoints._circle import ALONE
from phlox.loop.checkpoints._store import CheckpointStore
from phlox.weights import FileError

if TYPE_CHECKING:
    from phlox.loop._run import Run


class Checkpoint(Callback):
    """Saves the whole run while it goes on, so that it can be resumed as if it had never stopped.

    What is saved: model, optimiser, loss scale, metrics, callbacks, history, counters and the loader's position. Arrays
    are copied when the step is over and written in the background; a checkpoint appears when all of it is on the disk.
    Of several processes that train together each writes a part, into one folder that all see.
    ``px.fit(…, checkpoint_dir=folder, resume=True)`` makes one of these, and goes on from the newest whole checkpoint.

    Ctrl-C and SIGTERM are noted, and save at the end of the running steps; so does an exception. The message says how
    to resume. A second Ctrl-C stops at once.

    Arguments:
        folder: where the checkpoints go; made where it is missing, and used by one training at a time.
        every: ``"epoch"``, or a number of steps. The last epoch is always saved.
        keep: how many of the newest to keep, at least 1; a second one stands in where the newest is damaged.
        keep_best: how many of the best epochs to keep besides, by ``monitor``; they are saved whatever ``every`` says.
        monitor: the number that tells the best; by default ``"val_loss"``, or ``"loss"`` without validation data.
        mode: ``"min"`` or ``"max"``; ``"auto"`` tells it from the name.

    Raises:
        RangeError: an argument outside its range.
        FileError: when training starts, where the folder cannot be written, or holds the checkpoints of another
            training; later, where there is no room. Model and optimiser are as they are.
        MissingExtraError: when training starts, where Orbax is not installed.

    >>> import phlox as px
    >>> px.Checkpoint("runs/digits", every=100, keep_best=3, monitor="val_accuracy")
    Checkpoint('runs/digits', every=100, keep=2, keep_best=3)
    """

    order: ClassVar[int] = 100  # what the others did to themselves in a hook is saved too
    of_all: ClassVar[bool] = True  # of several processes each writes its part
    keep: int
    keep_best: int
    store: CheckpointStore

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: int | str = "epoch",
        keep: int = 2,
        keep_best: int = 1,
        monitor: str | None = None,
        mode: str = "auto",
    ):
        if every != "epoch" and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
            raise RangeError(
                'every to be "epoch" or a number of steps, at least 1', got=repr(every),
                fix='write every="epoch" or, for example, every=100', where="Checkpoint",
            )  # fmt: skip
        for name, value, least in (("keep", keep, 1), ("keep_best", keep_best, 0)):
            if not isinstance(value, int) or value < least:
                raise RangeError(
                    f"{name} of at least {least}", got=repr(value), fix="give a whole number", where="Checkpoint"
                )
        self.every, self.keep, self.keep_best = every, keep, keep_best
        self.monitor = None if monitor is None else Monitor(monitor, mode, 0.0, "Checkpoint")
        self.store = CheckpointStore(folder)
        self._interruption = Interruption()
        self._circle = ALONE
        self._boundary: Any = None  # where everything was last as a checkpoint needs it
        self._saved: Any = None  # where the last checkpoint was made, and its score
        self._held: Any = None  # where the last step was done, and the state there: what is to be saved instead
        self._moved = False  # a step was taken since the start, or since what was resumed from
        self._final = False  # training ends inside an epoch
        self._left = False  # saved because of a signal
        self._failed = False

    # --- hooks -----------------------------------------------------------------------------------

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def check_run(self, run: Run) -> None:
        if self.monitor is not None:
            self.monitor.check(run)
        self._refuse_another(run)

    def on_fit_start(self, run: Run) -> None:
        self._circle = run.together.circle
        self.store.among(self._circle)
        self.store.open()
        self._boundary, self._saved, self._held = _place(run), None, None
        self._moved = self._final = self._left = self._failed = False
        if self.monitor is None and self.keep_best:
            name = "loss" if run.validation is None else "val_loss"
            self.monitor = Monitor(name, "min", 0.0, "Checkpoint")
        self._interruption = run.interruption
        self._interruption.before_saving()

    def on_epoch_start(self, run: Run) -> None:
        self._boundary = _place(run)

    def steps_until(self, run: Run) -> int | None:
        return None if isinstance(self.every, str) else self.every - run.step % self.every

    def on_step_end(self, run: Run) -> None:
        self._boundary, self._moved = _place(run), True
        self._final = run.stopping or run.step == run.config.get("steps")
        # A longer training goes on inside the epoch; and while validation runs, the model may be another one.
        self._held = (_place(run), run.state()) if self._final or _validation_may_follow(run) else None
        self.store.check()
        if self._interruption.number is not None:
            self._leave(run)
        if not self._final and not isinstance(self.every, str) and run.step % self.every == 0:
            self._save(run, f"every {self.every} steps")

    def on_validation_start(self, run: Run) -> None:
        self._boundary = None
        if self._held is None:
            return
        if self._interruption.number is not None:
            self._leave(run)
        self._interruption.at_once = lambda: self._leave(run)

    def on_validation_end(self, run: Run) -> None:
        self._interruption.at_once = None
        if run.config.get("steps") and self.monitor is not None:  # else the end of the epoch has the number
            score = _number(run.logs[self.monitor.name]) if self.monitor.name in run.logs else None
            if self._among_best(score):
                self._save(run, "one of the best", score)
        if not self._final:
            self._held = None

    def on_validation_logged(self, run: Run) -> None:
        self._boundary = _place(run)
        if run.stopping:  # by what validation said: a longer training goes on from here
            self._final, self._held = True, (_place(run), run.state())

    def on_epoch_end(self, run: Run) -> None:
        self._boundary = _place(run)
        if not self._final:
            self._held = None
        score = self._score(run)
        last = run.stopping or self._final or (run.epochs is not None and run.epoch + 1 >= run.epochs)
        if self.every == "epoch" or last or self._among_best(score):
            self._save(run, "the last epoch" if last else "an epoch", score)
        if self._interruption.number is not None:
            self._leave(run, score)

    def on_exception(self, run: Run, error: BaseException) -> None:
        self._failed, self._interruption.at_once = True, None
        if self._left or (isinstance(error, Exception) and not self._moved):
            return  # before the first step, or where a resume failed, the run is not to be gone on with
        with suppress(Exception):
            self.store.wait()
        if isinstance(error, Exception) and not self.store.failed and (self._held or self._boundary == _place(run)):
            self._try_to_save(run, type(error).__name__)
        error.add_note(self._how_to_resume(run, type(error).__name__))

    def on_fit_end(self, run: Run) -> None:
        try:
            if not self._failed:
                self.store.wait()
        finally:
            self.store.close()

    def _refuse_another(self, run: Run) -> None:
        """Refuse a folder with the checkpoints of another training: the best of both would be one of them."""
        if run.config.get("resume", True):
            return
        there = run.together.circle.decided(lambda: [saved.step for saved in self.store.checkpoints()])
        if there:
            error: Any = FileError(
                "a folder without checkpoints, or resume=True",
                got=f"{len(there)} of an earlier training, up to step {there[-1]}",
                fix="pass resume=True to go on with it, or choose another folder",
                where=self.store.where,
            )
            error.everywhere = True
            raise error

    # --- saving ----------------------------------------------------------------------------------

    def _save(self, run: Run, reason: str, score: float | None = None) -> None:
        """Begin to save the run, unless it was saved just so."""
        place, state = self._held or (_place(run), None)
        if self._saved is not None and self._saved[0] == place:
            known = self._saved[1]
            if self._circle.decided(lambda: score in (None, known)):
                return
        monitor = self.monitor
        about = {
            "step": run.step,
            "epoch": run.epoch,
            "score": score,
            "monitor": None if monitor is None else monitor.name,
            "mode": None if monitor is None else monitor.mode,
            "reason": reason,
            "devices": run.device_count,
            "processes": self._circle.processes,
            "workers": getattr(run.loader, "num_workers", None),
        }
        self.store.save(run.state() if state is None else state, about, keep=self.keep, keep_best=self.keep_best)
        self._saved = place, score

    def _score(self, run: Run) -> float | None:
        return None if self.monitor is None else _number(self.monitor.read(run))

    def _among_best(self, score: float | None) -> bool:
        """Whether an epoch is better than the last of the best that are kept; of several processes 0 decides."""
        if not self.keep_best or self.monitor is None or (score is None and not self._circle.several):
            return False
        self.store.wait()
        return self._circle.decided(lambda: self._is_better(score))

    def _is_better(self, score: float | None) -> bool:
        if score is None or self.monitor is None:
            return False
        scores = [saved.score for saved in self.store.checkpoints() if saved.manifest["monitor"] == self.monitor.name]
        held = sorted((s for s in scores if s is not None), reverse=self.monitor.mode == "max")
        return len(held) < self.keep_best or self.monitor.better(score, held[self.keep_best - 1])

    def _leave(self, run: Run, score: float | None = None) -> None:
        """Save, say how to resume, and end the training as the signal asks."""
        self._interruption.at_once = None
        self._save(run, self._interruption.name, score)
        self.store.wait()
        self._left = True
        message = self._how_to_resume(run, self._interruption.name)
        if run.together.first:
            print(message, file=sys.stderr, flush=True)
        raise self._interruption.error(message)

    def _try_to_save(self, run: Run, reason: str) -> None:
        """Save where that is possible: after an exception the arrays may be gone.

        Other processes cannot be waited for; what process 0 holds whole it saves by itself.
        """
        if not self._circle.first:
            return
        with suppress(Exception):
            if self._circle.several:
                self._circle = ALONE
                self.store.among(ALONE)
            self._save(run, reason)
            self.store.wait()

    def _how_to_resume(self, run: Run, why: str) -> str:
        folder = self.store.address
        kept = self.store.checkpoints()
        if not kept:
            return f"{why} at step {run.step}, before anything was saved to {folder}"
        newest = f"{folder.rstrip('/')}/{kept[-1].path.name}"
        return (
            f"{why} at step {run.step}; saved up to step {kept[-1].step} in {newest}\n"
            f"go on with px.fit(…, checkpoint_dir={folder!r}, resume=True)"
        )

    def __repr__(self) -> str:
        folder = self.store.address
        return f"Checkpoint({folder!r}, every={self.every!r}, keep={self.keep}, keep_best={self.keep_best})"


def _place(run: Run) -> tuple[int, int, bool]:
    """Where a run stands between two steps."""
    return run.step, run.epoch, run.epoch_over


def _validation_may_follow(run: Run) -> bool:
    """Whether the step that was just taken may be followed by validation."""
    settings = run.config
    if run.validation is None:
        return False
    if settings.get("steps"):
        return run.step % settings.get("validation_every", 1) == 0
    return run.steps_per_epoch is None or run.batch > (run.steps_per_epoch - 1) * settings.get("accumulate", 1)


def _number(value: float | None) -> float | None:
    """The number, None for one that is not finite: it is never among the best."""
    return float(value) if value is not None and math.isfinite(value) else None
