"""Whether what plain JAX traces here may be used again untraced: only then can what it captured go stale.

JAX keeps what it traced by the function object. One that is made for a single call, such as a lambda written inside the
call, is traced anew each time and sees every change.
"""

from __future__ import annotations

import dis
import sys
from types import CodeType, FrameType
from typing import Any

_OURS = ("phlox", "jax", "jaxlib")


def outside() -> FrameType | None:
    """The innermost frame of the user's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _root(frame) in _OURS:
        frame = frame.f_back
    return frame


def level() -> int:
    """The ``stacklevel`` at which ``warnings.warn``, called by the caller, points at the user's line."""
    frame: FrameType | None = sys._getframe(1)
    n = 1
    while frame is not None and _root(frame) in _OURS:
        frame, n = frame.f_back, n + 1
    return n if frame is not None else 1


def may_be_reused() -> bool:
    """False where the function that JAX traces innermost was made for this one call."""
    traced = _traced_frame()
    if traced is None:
        return True  # a Module itself, or something without Python code of the user's
    frame = traced.f_back
    while frame is not None:
        if traced.f_code in frame.f_code.co_consts:
            return _used_again(frame, traced.f_code)
        frame = frame.f_back
    return True


def _used_again(maker: FrameType, code: CodeType) -> bool:
    """Whether the frame that made a function, and still runs, keeps it in a variable and uses that more than once."""
    kept = {name for name, value in maker.f_locals.items() if _holds(value, code)}
    if not kept:
        return False
    within = maker.f_code
    if within.co_name == "<module>" or kept & set(within.co_cellvars):
        return True  # others can reach it
    steps = list(dis.get_instructions(within))
    made = next(s.offset for s in steps if s.argval is code)
    loops = [(s.argval, s.offset) for s in steps if "JUMP" in s.opname and "BACKWARD" in s.opname]
    if any(start <= maker.f_lasti <= end and not start <= made <= end for start, end in loops):
        return True
    loads = [s.argval for s in steps if s.opname.startswith("LOAD_")]
    return any(sum(name in v if isinstance(v, tuple) else name == v for v in loads) > 1 for name in kept)


def _traced_frame() -> FrameType | None:
    """The user's frame that JAX called, the innermost such; None where JAX called something of Phlox's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_back is not None:
        if _root(frame.f_back) == "jax" and _root(frame) != "jax":
            return None if _root(frame) == "phlox" else frame
        frame = frame.f_back
    return None


def _holds(value: Any, code: CodeType) -> bool:
    """True for a function of this code, also wrapped by a transform or kept in a list, dict or object's attribute."""
    parts = [value]
    if isinstance(value, (list, tuple, set)):
        parts += value
    elif isinstance(value, dict):
        parts += value.values()
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        parts += vars(value).values()
    return any(_is(part, code) for part in parts)


def _is(value: Any, code: CodeType) -> bool:
    for _ in range(4):  # jit of grad of a function
        if getattr(value, "__code__", None) is code:
            return True
        value = getattr(value, "__wrapped__", None) or getattr(value, "func", None)
        if value is None:
            return False
    return False


def _root(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "").partition(".")[0]
