"""Checks of arguments that folders above share, refused where they are given."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from phlox.core._errors import RangeError, shown


def check_size(where: str, name: str, value: Any, *, least: int = 1, fix: str | None = None) -> int:
    """A whole number of at least ``least``, as an int; ``fix`` where a better one is known."""
    try:
        size = operator.index(value)
    except TypeError:
        size = least - 1
    if size < least or isinstance(value, bool):
        fix = fix or f"give {name} a value of {least} or more"
        raise RangeError(f"{name} to be a whole number of at least {least}", got=repr(value), fix=fix, where=where)
    return size


def check_function(where: str, name: str, value: Any, called: str) -> Callable[..., Any]:
    """A Module, or a function, that is called so."""
    if not callable(value) or isinstance(value, type):
        fix = f"make one: {value.__name__}(...)" if isinstance(value, type) else f"pass a Module or function {called}"
        raise RangeError(f"{name} that can be called, {called}", got=shown(value), fix=fix, where=where)
    return value
