"""Loggers that write plain files: a table of the epochs, and a line of JSON for everything logged."""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from phlox.core import StructureError
from phlox.loop.callbacks._callback import Callback
from phlox.loop.logs._history import in_words
from phlox.loop.logs._patience import Patience

if TYPE_CHECKING:
    from phlox.loop._run import Run


def log_path(path: str | Path | None, name: str, run: Run, where: str) -> Path:
    """The file or folder that a logger writes, ``name`` in the run's ``log_dir`` by default.

    Raises:
        StructureError: neither is given.
    """
    if path is None and run.log_dir is None:
        raise StructureError("a path, or a log_dir of px.fit", got="neither", fix="pass one of them", where=where)
    found = Path(path) if path is not None else Path(str(run.log_dir)) / name
    found.parent.mkdir(parents=True, exist_ok=True)
    return found


def set_aside(path: Path) -> None:
    """Give a file of an earlier run a number, so that nothing is lost: ``log.csv`` becomes ``log.1.csv``."""
    if path.exists():
        numbered = (path.with_suffix(f".{n}{path.suffix}") for n in range(1, 1_000_000))
        path.rename(next(other for other in numbered if not other.exists()))


class CSVLogger(Callback):
    """Writes a row for each epoch to a file of comma-separated values.

    The file is whole after every epoch; behind a validation inside an epoch, its last row is that of the epoch so far.
    Of an array there is its shape in words. A column that appears later is empty in the rows before. A resumed run goes
    on in the file, without the rows of epochs that are trained again; a new run gives a file that is there a number.

    Arguments:
        path: the file; by default ``history.csv`` in the ``log_dir`` of ``px.fit``.

    Raises:
        StructureError: when training starts, without a path and without a ``log_dir``.

    >>> import phlox as px
    >>> logger = px.CSVLogger("digits.csv")
    """

    order: ClassVar[int] = 50

    def __init__(self, path: str | Path | None = None):
        self.path = None if path is None else Path(path)
        self._columns: list[str] | None = None  # of the file, once it is begun
        self._resumed = False
        self._last: dict[str, Any] | None = None  # the row that was written last
        self._patience = Patience("CSVLogger")

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def on_fit_start(self, run: Run) -> None:
        self.path = log_path(self.path, "history.csv", run, "CSVLogger")
        self._columns, self._resumed, self._last = None, False, None
        self._patience = Patience("CSVLogger")

    def restore(self, state: dict[str, Any]) -> None:
        self._resumed = True

    def on_validation_logged(self, run: Run) -> None:
        row = {"epoch": run.epoch, "step": run.step, **run.row}
        self._write([*run.history, row], list(dict.fromkeys((*run.history.names, *row))))
        self._columns = None  # the end of the epoch writes all anew

    def on_epoch_end(self, run: Run) -> None:
        if self._columns != run.history.names or not self._patience.tries(lambda: self._add(run)):
            self._write(list(run.history), run.history.names)
        self._last = dict(run.history.epochs[-1])

    def on_fit_end(self, run: Run) -> None:
        if self._last is None:
            return
        lacking = self._columns is None and self._patience.told
        if lacking or not _same(self._last, run.history.epochs[-1]):  # something was logged since
            self._write(list(run.history), run.history.names)
        if self._columns is None and self._patience.told:
            self._patience.gives_up(f"rows of {self.path} are lost")

    def _add(self, run: Run) -> None:
        assert self.path is not None
        with self.path.open("a", newline="") as file:
            file.write(_row(run.history.names, run.history.epochs[-1]))

    def _write(self, rows: list[dict[str, Any]], columns: list[str]) -> None:
        """The whole table; where that fails, the next time again."""
        self._columns = columns if self._patience.tries(lambda: self._replace(rows, columns)) else None

    def _replace(self, rows: list[dict[str, Any]], columns: list[str]) -> None:
        assert self.path is not None
        if not self._resumed:
            set_aside(self.path)
            self._resumed = True  # from here on this file is that of this run
        text = "".join(_row(columns, row) for row in [{n: n for n in columns}, *rows])
        whole = self.path.with_name(self.path.name + ".part")
        whole.write_text(text, newline="")
        whole.replace(self.path)


def _row(columns: list[str], row: Mapping[str, Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow([in_words(row[name]) if name in row else "" for name in columns])
    return line.getvalue()


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two rows hold the very numbers."""
    return a.keys() == b.keys() and all(b[name] is value for name, value in a.items())


class JSONLinesLogger(Callback):
    """Writes everything that is logged to a file, each time one line of JSON: ``step``, ``time`` and the numbers.

    A line is handed to the system whole, so a reader, or a crash, never sees half of one. A resumed run cuts off what
    was written after its checkpoint; a new run gives a file that is there a number. ``time`` is in seconds since 1970.
    Arrays are lists. What JSON has no numbers for is written as ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.

    Arguments:
        path: the file; by default ``log.jsonl`` in the ``log_dir`` of ``px.fit``.

    Raises:
        StructureError: when training starts, without a path and without a ``log_dir``.

    >>> import phlox as px
    >>> logger = px.JSONLinesLogger("digits.jsonl")
    """

    order: ClassVar[int] = 50

    def __init__(self, path: str | Path | None = None):
        self.path = None if path is None else Path(path)
        self._file: int | None = None
        self._resumed_at: int | None = None  # the length that the file had at the checkpoint
        self._waiting: list[bytes] = []  # lines that could not be written yet
        self._patience = Patience("JSONLinesLogger")

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def on_fit_start(self, run: Run) -> None:
        self.path, self._resumed_at = log_path(self.path, "log.jsonl", run, "JSONLinesLogger"), None
        self._waiting, self._patience = [], Patience("JSONLinesLogger")

    def log_scalars(self, step: int, scalars: dict[str, float]) -> None:
        self._log(step, scalars)

    def log_arrays(self, step: int, arrays: dict[str, Any]) -> None:
        self._log(step, {name: np.asarray(array) for name, array in arrays.items()})

    def _log(self, step: int, values: Mapping[str, Any]) -> None:
        line = {"step": step, "time": round(time.time(), 3), **as_json(values)}
        self._waiting.append((json.dumps(line, allow_nan=False) + "\n").encode())
        self._patience.tries(self._write)

    def _write(self) -> None:
        """Hand over what waits, line by line; where there is no room for a whole one, none of it."""
        if self._file is None:
            self._file = self._opened()
        while self._waiting:
            length = os.fstat(self._file).st_size
            if os.write(self._file, self._waiting[0]) < len(self._waiting[0]):
                os.truncate(self._file, length)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            del self._waiting[0]

    def _opened(self) -> int:
        assert self.path is not None
        if self._resumed_at is None:
            set_aside(self.path)
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if self._resumed_at is not None and self._resumed_at < os.fstat(file).st_size:
            os.truncate(file, self._resumed_at)
        self._resumed_at = None
        return file

    def on_fit_end(self, run: Run) -> None:
        if self._waiting and not self._patience.tries(self._write):
            self._patience.gives_up(f"{len(self._waiting)} lines of {self.path} are lost")
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def state(self) -> dict[str, Any]:
        return {"length": self._resumed_at if self._file is None else os.fstat(self._file).st_size}

    def restore(self, state: dict[str, Any]) -> None:
        self._resumed_at = state["length"]


def as_json(value: Any) -> Any:
    """A value as strict JSON has it: arrays as lists, and a name for what JSON has no number for.

    >>> as_json({"loss": float("nan"), "counts": np.eye(2)})
    {'loss': 'NaN', 'counts': [[1.0, 0.0], [0.0, 1.0]]}
    """
    if isinstance(value, Mapping):
        return {str(name): as_json(v) for name, v in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
