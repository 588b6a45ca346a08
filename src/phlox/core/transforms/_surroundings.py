"""What a function reads around it: variables of its closure and module, which a compiled one keeps as they were."""

from __future__ import annotations

import dis
import types
import weakref
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from phlox.core import _compat
from phlox.core._errors import describe
from phlox.core._static import static_key
from phlox.core.transforms._names import user_function

_SIMPLE = (bool, int, float, complex, str, type(None), np.generic)
_HASHED = 1 << 20  # bytes of a NumPy array that is compared by its contents too, since it can change in place
_FUNCTIONS = 50  # functions of the user's that are followed


class Surroundings:
    """The numbers, strings and arrays that a function and its helpers name and did not receive, as they are now."""

    def __init__(self, fn: Any):
        self.found: dict[str, tuple[Any, str, Any]] = {}  # name → key, text, and a reference that keeps an id honest
        for name, value in _read_by(user_function(fn)):
            if isinstance(value, _SIMPLE):
                self.found[name] = static_key(value), repr(value), None
            elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
                self.found[name] = _contents(value), describe(value), None
            elif isinstance(value, jax.Array) and not isinstance(value, _compat.Tracer):
                reference = weakref.ref(value)
                self.found[name] = reference, describe(value), reference

    def differences(self, now: Surroundings) -> Iterator[tuple[str, str]]:
        """Name, and what it was and is, of all that is another ``now``."""
        for name, (key, text, _) in sorted(self.found.items()):
            other = now.found.get(name)
            if other is None or not _same(key, other[0]):
                new = "something else" if other is None else other[1] if other[1] != text else "another one"
                yield name, f"{name} = {text}, which is {new} now"


def _contents(value: np.ndarray) -> Any:
    checksum = zlib.crc32(value.tobytes()) if value.nbytes <= _HASHED else id(value)
    return value.shape, value.dtype.str, checksum


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, weakref.ref) and isinstance(b, weakref.ref):
        return a() is not None and a() is b()
    return bool(a == b)


def _read_by(fn: Any) -> Iterator[tuple[str, Any]]:
    """Names and values that a function reads and does not write, and those that helpers beside it do."""
    queue, seen = [fn], set()
    while queue and len(seen) < _FUNCTIONS:
        fn = user_function(queue.pop())
        if not isinstance(fn, types.FunctionType) or fn.__code__ in seen:
            continue
        seen.add(fn.__code__)
        read, written = _globals_of(fn.__code__)
        variables = {n: fn.__globals__[n] for n in sorted(read - written) if n in fn.__globals__}
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            if name not in written:
                try:
                    variables[name] = cell.cell_contents
                except ValueError:  # not assigned yet
                    continue
        for name, value in variables.items():
            inner = user_function(value)
            if isinstance(inner, types.FunctionType) and inner.__globals__ is fn.__globals__:
                queue.append(inner)
            yield name, value


def _globals_of(code: types.CodeType) -> tuple[set[str], set[str]]:
    """The global names that code reads, and the names outside it that it writes; functions inside it too."""
    read: set[str] = set()
    written: set[str] = set()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            read.add(step.argval)
        elif step.opname in ("STORE_GLOBAL", "STORE_DEREF", "DELETE_GLOBAL"):
            written.add(step.argval)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            inner = _globals_of(const)
            read |= inner[0]
            written |= inner[1]
    return read, written
