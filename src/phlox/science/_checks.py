"""Checks of what layers are made with, refused where it is given."""

from __future__ import annotations

import math
from typing import Any

from phlox.core import RangeError


def check_positive(layer: str, name: str, value: Any) -> float:
    """A finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        fix = f"give a number, such as {name}=1e-3"
        raise RangeError(f"{name} above 0", got=repr(value), fix=fix, where=layer)
    return float(value)
