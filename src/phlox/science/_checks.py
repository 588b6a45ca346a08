"""Checks of what layers are made with, refused where it is given."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from phlox.core import RangeError, shown


def check_size(layer: str, name: str, value: Any, *, least: int = 1) -> int:
    """A whole number of at least ``least``."""
    try:
        size = operator.index(value)
    except TypeError:
        size = least - 1
    if size < least or isinstance(value, bool):
        fix = f"give {name} a value of {least} or more"
        raise RangeError(f"{name} to be a whole number of at least {least}", got=repr(value), fix=fix, where=layer)
    return size


def check_positive(layer: str, name: str, value: Any) -> float:
    """A finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        fix = f"give a number, such as {name}=1e-3"
        raise RangeError(f"{name} above 0", got=repr(value), fix=fix, where=layer)
    return float(value)


def check_function(layer: str, name: str, value: Any, called: str) -> Callable[..., Any]:
    """A Module, or a function, that is called so."""
    if not callable(value) or isinstance(value, type):
        fix = f"make one: {value.__name__}(...)" if isinstance(value, type) else f"pass a Module or function {called}"
        raise RangeError(f"{name} that can be called, {called}", got=shown(value), fix=fix, where=layer)
    return value
