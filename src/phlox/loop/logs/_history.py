"""The History: what a training run measured, epoch by epoch and step by step."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phlox.core import RangeError

if TYPE_CHECKING:
    from phlox.core import Module
    from phlox.optim import Optimizer


class History:
    """What a run measured: a row of numbers for each epoch, what was logged between, and the loss of every step.

    ``history["loss"]`` is a column, ``history.epochs`` the rows, ``history.logged("val_loss")`` every number of a name
    with its step. ``model`` and ``optimizer`` are those that trained. Ctrl-C ends ``px.fit``, which then returns the
    history with ``interrupted`` true; an exception that ends it has the history as its attribute ``history``. The last
    row is then that of an epoch which was broken off. Epochs are counted from 0 in the rows, as in ``run.epoch``, and
    from 1 where they are shown.

    >>> import phlox as px
    >>> history = px.History()
    >>> history.add_epoch({"epoch": 0, "loss": 0.5}); history.add_epoch({"epoch": 1, "loss": 0.25})
    >>> history["loss"], len(history)
    ([0.5, 0.25], 2)
    >>> history
    epoch  loss
        1   0.5
        2  0.25
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []  # numbers, and arrays where a metric gives one
        self.steps: list[tuple[int, dict[str, Any]]] = []  # what was logged between, by step
        self.reason = ""  # why training ended, in words
        self.interrupted = False  # by Ctrl-C
        self.model: Module | None = None
        self.optimizer: Optimizer | None = None
        self._losses: list[np.ndarray[Any, Any]] = []

    @property
    def losses(self) -> np.ndarray[Any, Any]:
        """(steps,) the loss of every step of the epochs that are over."""
        if len(self._losses) > 1:
            self._losses = [np.concatenate(self._losses)]
        return self._losses[0] if self._losses else np.zeros(0, np.float32)

    def add_epoch(self, row: dict[str, Any]) -> None:
        """Add the row of an epoch."""
        self.epochs.append(dict(row))

    def add_losses(self, losses: np.ndarray[Any, Any]) -> None:
        """Add the losses of steps."""
        self._losses.append(np.asarray(losses))

    def add(self, step: int, name: str, value: Any) -> None:
        """Add a number at a step; numbers of one step share a row."""
        if self.steps and self.steps[-1][0] == step:
            self.steps[-1][1][name] = value
        else:
            self.steps.append((step, {name: value}))

    @property
    def names(self) -> list[str]:
        """The names of the columns, in the order of their first row."""
        return list(dict.fromkeys(name for row in self.epochs for name in row))

    def logged(self, name: str) -> list[tuple[int, Any]]:
        """Each time that a name was logged, in an epoch or at its end: the step and the number, in order."""
        found = {step: row[name] for step, row in self.steps if name in row}
        found |= {row["step"]: row[name] for row in self.epochs if name in row and row.get("step") not in found}
        return sorted(found.items())

    def __getitem__(self, name: str) -> list[Any]:
        """A number of every epoch that has it.

        Raises:
            RangeError: no epoch has a number of this name.
        """
        if name not in self.names:
            known = ", ".join(self.names) or "none yet"
            raise RangeError("the name of a column", got=repr(name), fix=f"choose among {known}", where="History")
        return [row[name] for row in self.epochs if name in row]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __len__(self) -> int:
        """The number of epochs."""
        return len(self.epochs)

    def __iter__(self) -> Iterator[dict[str, float]]:
        """The rows of the epochs."""
        return iter(self.epochs)

    def to_csv(self, path: str | Path) -> Path:
        """Write the epochs as a table of comma-separated values, a column for each name; returns the path.

        Of an array there is its shape in words.
        """
        path = Path(path)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.names)
            writer.writeheader()
            writer.writerows({name: in_words(value) for name, value in row.items()} for row in self.epochs)
        return path

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw the columns over the epochs, and write the figure to ``path`` where one is given."""
        from phlox.loop.logs._plot import plot_history  # matplotlib is an extra

        return plot_history(self.epochs, self.losses, path)

    def state(self) -> dict[str, Any]:
        """Everything but the model, the optimiser and the losses, as JSON-able values."""
        return {"epochs": [dict(row) for row in self.epochs], "steps": [[n, dict(row)] for n, row in self.steps]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        self.epochs = [dict(row) for row in state["epochs"]]
        self.steps = [(n, dict(row)) for n, row in state["steps"]]

    def __repr__(self) -> str:
        if not self.epochs:
            return "History(no epoch yet)"
        names = self.names
        cells = [names, *[[_cell(name, row.get(name)) for name in names] for row in self.epochs]]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
        return "\n".join(lines if len(lines) <= 21 else [*lines[:11], "…", *lines[-10:]])


def in_words(value: Any) -> Any:
    """A number as it is; of an array its shape, as tables have no room for more: ``array 3 × 3``.

    >>> in_words(0.5), in_words(np.zeros((3, 3))), in_words((np.zeros(2), np.zeros(2)))
    (0.5, 'array 3 × 3', 'tuple')
    """
    if isinstance(value, np.ndarray) and value.ndim:
        return "array " + " × ".join(map(str, value.shape))
    return value if np.isscalar(value) else type(value).__name__


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    value = in_words(value)
    if isinstance(value, int):
        return str(value + 1 if name == "epoch" else value)
    return value if isinstance(value, str) else f"{value:.4g}"
