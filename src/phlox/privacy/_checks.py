"""Checks of what is given, refused where it is given."""

from __future__ import annotations

import math
from typing import Any

from phlox.core import RangeError


def check_number(where: str, name: str, value: Any, low: float, high: float, *, at_low: bool = False) -> float:
    """A number between two others; the lower one itself with ``at_low``, the upper one itself where it is finite."""
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    above = number >= low if at_low else number > low
    if not above or number > high or math.isinf(number):
        top = "" if math.isinf(high) else f" and at most {high:g}"
        what = f"{name} of at least {low:g}{top}" if at_low else f"{name} above {low:g}{top}"
        raise RangeError(what, got=repr(value), fix=f"give {name} a number within", where=where)
    return float(number)
