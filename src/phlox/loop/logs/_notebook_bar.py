"""A bar in a notebook, as a line of text that is shown anew: it needs nothing but IPython."""

from __future__ import annotations

import sys
from typing import Any

_WIDTH = 24  # characters


class NotebookBar:
    """Shows one task at a time; the interface is what ``ProgressBar`` uses of rich's ``Progress``."""

    def __init__(self) -> None:
        self.task_ids: list[int] = []
        self.console = self
        self._handle: Any = None
        self._task: dict[str, Any] = {}

    def start(self) -> None:
        """Nothing is shown before the first task."""

    def stop(self) -> None:
        """Leave nothing behind; lines that were printed stay."""
        if self._handle is not None:
            self._handle.update({"text/plain": ""}, raw=True)
            self._handle = None

    def add_task(self, description: str, *, total: int | None, numbers: str) -> None:
        """Begin a task."""
        self.task_ids, self._task = [0], {"description": description, "total": total, "completed": 0}
        self.update(0, numbers=numbers)

    def remove_task(self, task: int) -> None:
        """Forget it."""
        self.task_ids = []

    def update(self, task: int, **values: Any) -> None:
        """Show what changed."""
        self._task |= values
        shown = {"text/plain": self.text()}
        if self._handle is None:
            from IPython.display import display  # pyright: ignore[reportMissingImports]  # where a notebook is

            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)

    def print(self, line: str, **_: Any) -> None:
        """A line that stays."""
        print(line, file=sys.stdout, flush=True)

    def text(self) -> str:
        """The line: ``epoch 1/3  ━━━━────  40/80  loss 0.3``."""
        task, total = self._task, self._task["total"]
        done = _WIDTH * task["completed"] // total if total else 0
        count = f"{task['completed']}/{total or '?'}"
        bar = "━" * min(done, _WIDTH) + "─" * max(_WIDTH - done, 0)
        return "  ".join(filter(None, (task["description"], bar, count, task.get("numbers"))))
