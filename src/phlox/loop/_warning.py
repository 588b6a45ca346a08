"""Warnings that point to the line of the user's that called the loop, however deep it is in it."""

from __future__ import annotations

import warnings

from phlox.core import stack_level


def warn(message: str) -> None:
    """Warn, at the innermost line that is not of this library."""
    warnings.warn(message, stacklevel=stack_level())
