"""How long batches take, by their form: those that are sure to be quick run on the event loop's own thread."""

from __future__ import annotations

from typing import Any

from phlox.serving.engine._runner import Runner

QUICK = 5e-4
"""Seconds for which the event loop may stand still; two changes of thread take a fifth of it."""
_FAR = 10 * QUICK
_DOUBT = 100  # quick runs beside the loop after one on it that was far from quick
_MOST_FORMS = 4096


class Pace:
    """Which batches have shown that they are quick.

    A form is what a program is compiled for: a signature, dtypes, sizes. A new one runs in the thread first, as it
    may have to be compiled; and again after the servable has let go of its programs.

    Arguments:
        runner: what runs.
    """

    def __init__(self, runner: Runner):
        self._runner, self._forgets = runner, 0
        self._left: dict[Any, int] = {}

    def form(self, key: tuple[Any, ...], rows: int) -> Any:
        """The form of so many rows of a bucket; None where only a run itself tells how long it takes."""
        found = self._runner.rows[key[0]]
        if found is None or rows > found.most or key[0] not in self._runner.steady:
            return None
        return key, found.padded(rows)

    def is_quick(self, form: Any) -> bool:
        """Whether a form may run on the event loop's thread."""
        if self._forgets != self._runner.servable.forgets:
            self._forgets = self._runner.servable.forgets
            self._left.clear()
        return form is not None and self._left.get(form) == 0

    def took(self, form: Any, seconds: float, *, here: bool) -> None:
        """Note how long it took, here on the loop's thread or beside it."""
        if form is None or (form not in self._left and len(self._left) >= _MOST_FORMS):
            return
        left = self._left.get(form, 1)
        if seconds < QUICK:
            self._left[form] = max(0, left - 1)
        else:
            self._left[form] = _DOUBT if here and seconds > _FAR else max(1, left)
