"""Logs that cannot be written for a while: training goes on, it is told once, and they are caught up."""

from __future__ import annotations

from collections.abc import Callable

from phlox.loop._warning import warn


class Patience:
    """Tries to write, and never stops a training.

    Arguments:
        who: the logger that speaks.
    """

    who: str
    told: bool

    def __init__(self, who: str):
        self.who = who
        self.told = False  # of a failure

    def tries(self, write: Callable[[], object]) -> bool:
        """Whether it could be written; the first failure of the system's is told."""
        try:
            write()
        except OSError as error:
            if not self.told:
                self.told = True
                warn(f"{self.who}: {error}. Training goes on, and what is missing is written as soon as that can be.")
            return False
        return True

    def gives_up(self, lost: str) -> None:
        """Tell what was not caught up when training ended."""
        warn(f"{self.who}: {lost}, since nothing could be written until training ended.")
