"""What an attribute hides: arrays and Modules where no transform, copy or file would find them."""

from __future__ import annotations

import weakref
from collections import UserList, deque
from collections.abc import Iterable, Iterator, Mapping, MappingView
from functools import partial
from types import BuiltinFunctionType, CellType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import jax
import numpy as np

from phlox.core import _compat
from phlox.core._errors import StructureError, describe
from phlox.core.context._here import Node
from phlox.core.context._warning import warn_once
from phlox.core.module._arrays import ARRAY_TYPES, Path, displayed, is_array

USED_UP = (GeneratorType, map, filter, zip, enumerate, reversed, type(iter([])), type(iter(())))
_REFERENCES = (weakref.ReferenceType, weakref.ProxyType, weakref.CallableProxyType)
_BOXES: Any = (list, tuple, set, frozenset, deque, UserList, MappingView)
_OPAQUE = (np.ndarray, np.generic, type, ModuleType, BuiltinFunctionType, str, bytes, int, float, complex, type(None))
_DEPTH = 5  # how far the search goes: an object in an attribute, the lists in it, a function in these, and its cells


def refuse_hidden(value: Any, path: Path, owner: Any) -> None:
    """Raise where a value that JAX cannot see into hides an array or a Module of ``owner``'s.

    A function may capture arrays, as constants; floating JAX arrays, which look like weights, warn. It may not
    capture a Module, except one of ``px.constant``: a copy of the owner would go on with the original.
    """
    if isinstance(value, _OPAQUE):
        return
    if isinstance(value, USED_UP):
        raise _error(
            value, path, f"a {type(value).__name__} at {{}}, which is used up when it is read once", "make it a list"
        )
    if isinstance(value, _REFERENCES):
        target = value() if isinstance(value, weakref.ReferenceType) else value
        if _is_tracked(target):
            raise _error(
                value,
                path,
                f"a weak reference at {{}} to {_named(target)}, which a copy would share with the original",
                "hold it as an attribute, or pass it to the call as an argument",
            )
        return
    constants = callable(value)
    for found in _inside(value):
        if not constants or isinstance(found, Node):
            raise _refusal(value, path, owner, found)
        if type(found) is _compat.ArrayImpl and jax.numpy.issubdtype(found.dtype, jax.numpy.inexact):
            _warn_constant(value, path, owner, found)
            return


def _inside(value: Any) -> Iterator[Any]:
    """The arrays and Modules that a value leads to."""
    queue: list[tuple[Any, int, bool]] = [(value, 0, True)]
    seen: set[int] = set()
    for v, depth, fresh in queue:
        if id(v) in seen or depth > _DEPTH:
            continue
        seen.add(id(v))
        if depth and _is_tracked(v):
            yield v
        elif depth and isinstance(v, (Node, *ARRAY_TYPES)):
            continue
        elif not isinstance(v, _OPAQUE):
            parts, is_object = _parts(v)
            if is_object and not fresh:
                continue  # an object in an object is its own business
            queue += [(part, depth + 1, fresh and not is_object) for part in parts]


def _is_tracked(v: Any) -> bool:
    """True for arrays, and for Modules that are not constants."""
    if isinstance(v, Node):
        return not v._px.constant
    return is_array(v)


def _parts(v: Any) -> tuple[Iterable[Any], bool]:
    """What a value holds one level down, and whether it is an object of some class."""
    if isinstance(v, (FunctionType, MethodType, partial)):
        return _of_function(v), False
    if hasattr(v, "__wrapped__"):  # made by functools.wraps, jax.jit, px.jit: what else it holds is its own
        return [v.__wrapped__], False
    if isinstance(v, Mapping):
        return list(v.values()), False
    if isinstance(v, _BOXES):
        return list(v), False
    return list(_attributes(v)), True


def _of_function(v: Any) -> list[Any]:
    if isinstance(v, MethodType):
        return [v.__self__]
    if isinstance(v, partial):
        return [v.func, *v.args, *v.keywords.values()]
    cells = [_content(cell) for cell in v.__closure__ or ()]
    return [*cells, *(v.__defaults__ or ()), *(v.__kwdefaults__ or {}).values()]


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def _attributes(v: Any) -> Iterator[Any]:
    yield from list(getattr(v, "__dict__", {}).values())
    for cls in type(v).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            if name not in ("__dict__", "__weakref__") and hasattr(v, name):
                yield getattr(v, name)


# --- what is said ----------------------------------------------------------------------------------


def _named(found: Any) -> str:
    return f"a {describe(found)}" if isinstance(found, Node) else describe(found)


def _refusal(value: Any, path: Path, owner: Any, found: Any) -> StructureError:
    if isinstance(value, (FunctionType, MethodType, partial)) or hasattr(value, "__wrapped__"):
        itself = found is owner
        what = f"the very {type(owner).__name__} that holds it" if itself else _named(found)
        return _error(
            value,
            path,
            f"a function at {{}} that captures {what}: a copy of the Module would go on with the original",
            "make it a method, and hold self.method if it must be an attribute"
            if itself
            else "hold the Module as an attribute and call it from a method, or capture px.constant(module)",
        )
    known = isinstance(value, (*_BOXES, Mapping))
    return _error(
        value,
        path,
        f"a {type(value).__name__} at {{}} that holds {describe(found)}, which JAX cannot see",
        "use a list, tuple or dict for {}"
        if known
        else f"make {type(value).__name__} a px.Module, or register it with jax.tree_util.register_dataclass",
    )


def _error(value: Any, path: Path, got: str, fix: str) -> StructureError:
    del value
    place = displayed(path)
    return StructureError(
        "arrays and Modules in lists, tuples, dicts, Modules or registered pytrees",
        got=got.format(place),
        fix=fix.format(place),
        where=f"attribute {path[0]}",
    )


def _warn_constant(value: Any, path: Path, owner: Any, found: Any) -> None:
    place = f"{type(owner).__name__}{displayed(path)}"
    what = "a function" if isinstance(value, (FunctionType, MethodType, partial)) else f"a {type(value).__name__}"
    warn_once(
        f"hidden {place}",
        f"{place} is {what} that holds {describe(found)}, which is no parameter: no gradient reaches it and no file "
        "keeps it. Make it an attribute of the Module; for a constant, let the function hold a NumPy array.",
    )
