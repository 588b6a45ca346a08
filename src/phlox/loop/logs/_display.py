"""The progress of a training: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar

from phlox.core import RangeError
from phlox.loop.callbacks._callback import Callback
from phlox.loop.logs._history import in_words
from phlox.loop.logs._notebook_bar import NotebookBar
from phlox.loop.preflight._room import resident_memory

if TYPE_CHECKING:
    from phlox.loop._run import Run

_EVERY = 0.2  # seconds between two looks of the bar
_EVERY_PLAIN = 30.0  # seconds between two lines inside an epoch


class ProgressBar(Callback):
    """Shows how training goes: epoch, steps, loss, metrics, examples per second, time left, and memory.

    In a terminal or a notebook it is a bar that ``rich`` draws; elsewhere, in log files, there is a line for each epoch
    and one in between where an epoch takes long. The loss shown is that of the last step whose result is there already:
    nothing waits for it. A line for an epoch has the mean loss and the metrics, behind a slash those of validation, the
    time, and how many examples were trained on in a second; validations inside an epoch have lines of their own. At the
    end it says why training stopped, where that was before its time.

    Arguments:
        style: ``"auto"``, True for the bar, or ``"plain"``.

    Raises:
        RangeError: another style.

    >>> import phlox as px
    >>> bar = px.ProgressBar("plain")
    """

    order: ClassVar[int] = 40

    def __init__(self, style: bool | str = "auto"):
        if style not in ("auto", "plain", True):
            fix = "choose one of these, or leave the callback out"
            raise RangeError('progress "auto", "plain", True or False', got=repr(style), fix=fix, where="ProgressBar")
        self.style = style
        self._bar: Any = None
        self._looked = self._began = 0.0
        self._first = 0
        self._pending: list[Any] = []
        self._loss: float | None = None  # none yet

    # --- hooks -----------------------------------------------------------------------------------

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def on_fit_start(self, run: Run) -> None:
        self._looked = time.perf_counter()
        if self._draws():
            self._bar = NotebookBar() if _in_notebook() else _rich_bar()
            self._bar.start()

    def on_epoch_start(self, run: Run) -> None:
        self._began, self._first, self._pending = time.perf_counter(), run.step, []
        if self._bar is not None:
            for task in list(self._bar.task_ids):
                self._bar.remove_task(task)
            self._bar.add_task(_epoch(run), total=run.steps_per_epoch, numbers="")

    def steps_until(self, run: Run) -> int | None:
        """Whenever a chunk ends is soon enough."""
        return None

    def on_step_end(self, run: Run) -> None:
        now = time.perf_counter()
        if now - self._looked < (_EVERY_PLAIN if self._bar is None else _EVERY):
            return
        self._looked = now
        text = self._numbers(run)
        if self._bar is None:
            self._print(f"{_epoch(run)}  step {self._done(run)}  {text}")
        else:
            self._bar.update(self._bar.task_ids[0], completed=self._steps(run), numbers=text)

    def on_validation_start(self, run: Run) -> None:
        if self._bar is not None and self._bar.task_ids:
            text = f"{_epoch(run)}  validation"
            self._bar.update(self._bar.task_ids[0], description=text, completed=self._steps(run))

    def on_validation_end(self, run: Run) -> None:
        if self._bar is not None and self._bar.task_ids:
            self._bar.update(self._bar.task_ids[0], description=_epoch(run))

    def on_validation_logged(self, run: Run) -> None:
        row = {name: value for name, value in run.row.items() if name in run.fresh}
        self._print("  ".join([_epoch(run), f"step {run.step}", *_numbers(row)]))

    def on_epoch_end(self, run: Run) -> None:
        row = run.history.epochs[-1]
        parts = [_epoch(run)] + ([f"step {run.step}"] if run.epochs is None else [])
        parts += [*_numbers(row), _time(time.perf_counter() - self._began), _speed(run)]
        self._print("  ".join(parts).rstrip())

    def on_fit_end(self, run: Run) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if run.stopping:
            self._print(f"stopped: {run.history.reason}")

    # --- what it says ----------------------------------------------------------------------------

    def _numbers(self, run: Run) -> str:
        loss = self._latest(run)
        parts = ["" if loss is None else f"loss {loss:.4g}", _speed(run)]
        left = self._left(run)
        if left is not None:
            parts.append(f"{_time(left)} left")
        parts.append(_memory())
        return "  ".join(filter(None, parts))

    def _latest(self, run: Run) -> float | None:
        """The newest loss that is there without waiting; None before the first."""
        for part in reversed(run.ledger.waiting):
            if part.record.loss.is_ready():
                self._loss = float(part.numbers().loss[-1])
                break
        return self._loss

    def _steps(self, run: Run) -> int:
        """Steps of this epoch so far."""
        return -(-run.batch // max(1, run.config.get("accumulate") or 1))

    def _done(self, run: Run) -> str:
        return f"{self._steps(run)}/{run.steps_per_epoch or '?'}"

    def _left(self, run: Run) -> float | None:
        """Seconds left of the epoch, by its steps so far in this process."""
        done = run.step - self._first
        if run.steps_per_epoch is None or not done:
            return None
        return (time.perf_counter() - self._began) / done * (run.steps_per_epoch - self._steps(run))

    # --- where it says it ------------------------------------------------------------------------

    def _draws(self) -> bool:
        if self.style == "plain":
            return False
        return self.style is True or sys.stderr.isatty() or _in_notebook()

    def _print(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules


def _rich_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[numbers]}")
    return Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=5)


def _epoch(run: Run) -> str:
    return f"epoch {run.epoch + 1}" + ("" if run.epochs is None else f"/{run.epochs}")


def _numbers(row: dict[str, Any]) -> list[str]:
    """``loss 0.12/0.15``: each number of an epoch by its name, and behind a slash the one of validation."""
    shown = []
    for name, value in row.items():
        if name in ("epoch", "step") or (name.startswith("val_") and name[4:] in row):
            continue
        of_validation = f"/{_shown(row[f'val_{name}'])}" if f"val_{name}" in row else ""
        shown.append(f"{name} {_shown(value)}{of_validation}")
    return shown


def _shown(value: Any) -> str:
    """A number in four digits, an array in words."""
    value = in_words(value)
    return value if isinstance(value, str) else f"{value:.4g}"


def _speed(run: Run) -> str:
    """``950/s`` or ``65.4k/s``: examples trained on in a second, where that is known."""
    speed = run.examples_per_second
    if not speed:
        return ""
    return f"{speed:.0f}/s" if speed < 1000 else f"{speed / 1000:.3g}k/s" if speed < 1e6 else f"{speed / 1e6:.3g}M/s"


def _time(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3:07`` or ``1:02:03``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _memory() -> str:
    """What is in use, on a CPU by this process, where somebody tells."""
    used = resident_memory()
    return "" if used is None else f"{used / 2**30:.1f} GiB"
