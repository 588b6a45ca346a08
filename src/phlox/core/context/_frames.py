"""What the user's code calls a Module: the variables in the frames that led here. No Module is looked into."""

from __future__ import annotations

import inspect
import sys
from types import FrameType
from typing import Any

from phlox.core.context._here import Node


def frames() -> list[FrameType]:
    """The frames of callers outside the core and JAX, the nearest first."""
    found: list[FrameType] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if not _internal(frame):
            found.append(frame)
        frame = frame.f_back
    return found


def _internal(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    return name.startswith(("phlox.core", "jax.", "jax._src"))


def variable_of(module: Node) -> str | None:
    """The name of a caller's variable that holds the Module; the nearest caller's wins."""
    for frame in frames():
        for name, value in frame.f_locals.items():
            if value is module and not name.startswith((".", "_")) and not is_self(frame, name, module):
                return name
        if frame.f_code.co_name == "<module>":
            break
    return _global_name(module)


def is_self(frame: FrameType, name: str, module: Node) -> bool:
    """True for the first parameter of one of the Module's own methods, whatever it is called."""
    code = frame.f_code
    if name == "self":
        return True
    if not code.co_argcount or code.co_varnames[0] != name:
        return False
    method: Any = getattr(type(module), code.co_name, None)
    return method is not None and getattr(inspect.unwrap(method), "__code__", None) is code


def _global_name(module: Node) -> str | None:
    for frame in frames():
        for name, value in frame.f_globals.items():
            if value is module and not name.startswith("_"):
                return name
    return None
