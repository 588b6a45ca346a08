"""A run's folder, read back: what it was made of, every number, the last arrays, its worst examples."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phlox.core import RangeError
from phlox.loop.callbacks._direction import mode_of
from phlox.loop.tracking import _record as record
from phlox.loop.tracking import _worst as worst
from phlox.weights import CorruptFileError, MissingFileError

WHERE = "px.read_run"
LINES = "log.jsonl"
_NO_NUMBERS = ("step", "time", "epoch")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True)
class RecordedRun:
    """What a run's folder holds.

    Attributes:
        folder: where it is.
        record: what ``run.json`` says, empty where there is none.
        epochs: the rows of its epochs.
        numbers: each number that was logged, as pairs of step and value, in order.
        arrays: each array that was logged, such as a confusion matrix, as it was at last.
        examples: the arrays of ``worst.npz``, by name.
    """

    folder: Path
    record: dict[str, Any]
    epochs: list[dict[str, Any]]
    numbers: dict[str, list[tuple[int, float]]]
    arrays: dict[str, np.ndarray[Any, Any]]
    examples: dict[str, np.ndarray[Any, Any]]

    @property
    def name(self) -> str:
        """That of its folder."""
        return self.folder.absolute().name

    @property
    def status(self) -> str:
        """How it ended: "finished", "interrupted", "failed"; "running" where it has not, or was killed; "unknown"."""
        return str(self.record.get("status", "unknown"))

    def last(self, name: str) -> float:
        """A number as it was logged last.

        Raises:
            RangeError: none of this name was logged.
        """
        return self._logged(name)[-1][1]

    def best(self, name: str) -> tuple[int, float] | None:
        """Where a number was best, as step and value; None where its name does not tell which way is better.

        Raises:
            RangeError: none of this name was logged.
        """
        found = [(step, value) for step, value in self._logged(name) if math.isfinite(value)]
        try:
            mode = mode_of(name, WHERE)
        except RangeError:
            return None
        return (min if mode == "min" else max)(found, key=lambda pair: pair[1]) if found else None

    def _logged(self, name: str) -> list[tuple[int, float]]:
        if name not in self.numbers:
            known = ", ".join(self.numbers) or "none"
            raise RangeError("the name of a number", got=repr(name), fix=f"choose among {known}", where=WHERE)
        return self.numbers[name]

    def __repr__(self) -> str:
        return f"RecordedRun({self.name!r}, {self.status}, {len(self.epochs)} epochs, {', '.join(self.numbers)})"


def read_run(folder: str | Path) -> RecordedRun:
    """Read what ``px.fit(log_dir=folder)`` wrote, also while it goes on.

    Raises:
        MissingFileError: there is no ``log.jsonl`` and no ``run.json`` in the folder.
        CorruptFileError: one of them is damaged. A last line that is cut short, as by a full disk, is passed over.

    >>> import tempfile, numpy as np, phlox as px
    >>> x = np.ones((4, 1), "float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     history = px.fit(px.Dense(1, 1), (x, x), loss=px.losses.mse, optimizer=px.optim.Adam(0.1), epochs=2,
    ...                      log_dir=folder, progress=False)
    ...     run = px.read_run(folder)
    >>> run.status, run.record["config"]["epochs"], run.last("loss") == history["loss"][-1]
    ('finished', 2, True)
    """
    folder = Path(folder)
    lines, made = folder / LINES, folder / record.FILE
    if not lines.is_file() and not made.is_file():
        fix = "give the log_dir of a px.fit"
        raise MissingFileError(f"{folder} to hold {record.FILE} or {LINES}", got="neither", fix=fix, where=WHERE)
    whole = _parsed(made, made.read_text("utf-8")) if made.is_file() else {}
    epochs: list[dict[str, Any]] = []
    numbers: dict[str, list[tuple[int, float]]] = {}
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for line in _lines(lines) if lines.is_file() else ():
        values = {name: _value(value) for name, value in line.items() if name not in _NO_NUMBERS}
        if "epoch" in line:
            epochs.append({"epoch": line["epoch"], "step": line["step"], **values})
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                arrays[name] = value
            else:
                numbers.setdefault(name, []).append((line["step"], value))
    return RecordedRun(folder, whole, epochs, numbers, arrays, _examples(folder / worst.FILE))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    found = path.read_text("utf-8").split("\n")
    for number, line in enumerate(found[:-1]):  # what is behind the last end of a line is no whole one
        yield _parsed(path, line, f", line {number + 1}")


def _parsed(path: Path, text: str, at: str = "") -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        fix = "take it from where it was copied from, or remove what is damaged"
        raise CorruptFileError(f"{path}{at} to be JSON", got=str(error), fix=fix, where=WHERE) from None
    return found if isinstance(found, dict) else {}


def _value(value: Any) -> Any:
    """A number, or an array, from what stands for it in a line."""
    if isinstance(value, list):
        return np.asarray(_each(value, _value))
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    return [_each(one, change) if isinstance(one, list) else change(one) for one in value]


def _examples(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, KeyError, EOFError) as error:
        fix = "remove it: the rest of the run can be read without it"
        raise CorruptFileError(f"{path} to hold arrays", got=str(error), fix=fix, where=WHERE) from None
