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

    ``history["loss"]`` is a column, ``history.epochs`` the rows. ``model`` and ``optimizer`` are those that trained.

    >>> import phlox as px
    >>> history = px.History()
    >>> history.add_epoch({"epoch": 0, "loss": 0.5}); history.add_epoch({"epoch": 1, "loss": 0.25})
    >>> history["loss"], len(history)
    ([0.5, 0.25], 2)
    >>> history
    epoch  loss
        0   0.5
        1  0.25
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self.steps: list[tuple[int, dict[str, float]]] = []  # numbers of run.log, by step
        self.reason = ""  # why training ended, in words
        self.model: Module | None = None
        self.optimizer: Optimizer | None = None
        self._losses: list[np.ndarray[Any, Any]] = []

    @property
    def losses(self) -> np.ndarray[Any, Any]:
        """(steps,) the loss of every step of the epochs that are over."""
        if len(self._losses) > 1:
            self._losses = [np.concatenate(self._losses)]
        return self._losses[0] if self._losses else np.zeros(0, np.float32)

    def add_epoch(self, row: dict[str, float]) -> None:
        """Add the row of an epoch."""
        self.epochs.append(dict(row))

    def add_losses(self, losses: np.ndarray[Any, Any]) -> None:
        """Add the losses of steps."""
        self._losses.append(np.asarray(losses))

    def add(self, step: int, name: str, value: float) -> None:
        """Add a number at a step; numbers of one step share a row."""
        if self.steps and self.steps[-1][0] == step:
            self.steps[-1][1][name] = value
        else:
            self.steps.append((step, {name: value}))

    @property
    def names(self) -> list[str]:
        """The names of the columns, in the order of their first row."""
        return list(dict.fromkeys(name for row in self.epochs for name in row))

    def __getitem__(self, name: str) -> list[float]:
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
        """Write the epochs as a table of comma-separated values, a column for each name; returns the path."""
        path = Path(path)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.names)
            writer.writeheader()
            writer.writerows(self.epochs)
        return path

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw the columns over the epochs, and write the figure to ``path`` where one is given."""
        from phlox.loop._plot import plot_history  # matplotlib is an extra

        return plot_history(self, path)

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
        cells = [names, *[[_cell(row.get(name)) for name in names] for row in self.epochs]]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
        return "\n".join(lines if len(lines) <= 21 else [*lines[:11], "…", *lines[-10:]])


def _cell(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.4g}"
