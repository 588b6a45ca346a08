"""The error of a solver that did not come to its end."""

from __future__ import annotations

from phlox.core import PhloxError


class SolverError(PhloxError, RuntimeError):
    """A solver that used up its steps, or cannot go on."""
