"""Checks of what is given, refused where it is given."""

from __future__ import annotations

import math
import operator
from typing import Any

from phlox.core import RangeError


def check_size(where: str, name: str, value: Any, *, least: int = 1) -> int:
    """A whole number of at least ``least``."""
    try:
        size = operator.index(value)
    except TypeError:
        size = least - 1
    if size < least or isinstance(value, bool):
        fix = f"give {name} a value of {least} or more"
        raise RangeError(f"{name} to be a whole number of at least {least}", got=repr(value), fix=fix, where=where)
    return size


def check_number(where: str, name: str, value: Any, low: float, high: float, *, at_low: bool = False) -> float:
    """A number between two others; the lower one itself with ``at_low``, the upper one itself where it is finite."""
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    above = number >= low if at_low else number > low
    if not above or number > high or math.isinf(number):
        top = "" if math.isinf(high) else f" and at most {high:g}"
        what = f"{name} of at least {low:g}{top}" if at_low else f"{name} above {low:g}{top}"
        raise RangeError(what, got=repr(value), fix=f"give {name} a number within", where=where)
    return float(number)
