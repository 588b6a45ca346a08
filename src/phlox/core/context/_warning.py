"""Warnings that are given once for each place, at the line of the user's."""

from __future__ import annotations

import warnings

from phlox.core.context._outlives import level

_warned: set[str] = set()


def warn_once(place: str, message: str) -> None:
    """Warn once per place, so that a loop does not repeat itself; at the line of the user's that led there."""
    if place not in _warned:
        _warned.add(place)
        warnings.warn(message, stacklevel=level())
