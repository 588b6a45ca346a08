"""Where in a model something went wrong: the path from the root, under the name its user gave it."""

from __future__ import annotations

import inspect
import sys
from contextlib import suppress
from itertools import pairwise
from types import FrameType
from typing import TYPE_CHECKING, Any

from phlox.core import _compat
from phlox.core._errors import PhloxError, StructureError, lost_buffers
from phlox.core.context._scope import here
from phlox.core.module import _layout
from phlox.core.module._layout import Path, displayed

if TYPE_CHECKING:
    from phlox.core.module._module import Module


def locate(error: BaseException) -> PhloxError | None:
    """Add the path of the innermost running Module to an exception, once; or give one that says more."""
    if getattr(error, "_phlox_located", False) or getattr(error, "located", False):
        return None
    if isinstance(error, RecursionError) and len(here.calls) >= _DEEP:
        return _too_deep(len(here.calls))  # short: there is no room for a search here, and each level would search
    module = here.calls[-1]
    text = f"{path_of(module)} {module._brief()}"
    if isinstance(error, PhloxError):
        if not error.located:
            error.where, error.located = text, True
        return None
    dead = _first_dead(here.calls[0]) if isinstance(error, (RuntimeError, ValueError)) else None
    if dead is not None:
        root = here.calls[0]
        return lost_buffers(path_of(root) + displayed(dead), f"{path_of(root)} {root._brief()}")
    error.add_note(f"in {text}")
    with suppress(AttributeError):  # an exception class with slots: the note may then stand twice
        error._phlox_located = True  # type: ignore[attr-defined]
    return None


_DEEP = 100  # Modules inside each other


def _too_deep(depth: int) -> PhloxError:
    return StructureError(
        "Modules nested as deep as Python can call them",
        got=f"{depth} calls inside each other at the recursion limit of {sys.getrecursionlimit()}",
        fix="put layers side by side, px.Chain(*layers), or call sys.setrecursionlimit(10_000)",
        where=type(here.calls[0]).__name__,
        located=True,
    )


def _first_dead(root: Module) -> Path | None:
    """The path to the first array of a Module whose buffer is gone."""
    from phlox.core.module._plan import plan_of

    plan = plan_of([root])
    for i, x in enumerate(plan.gather()):
        if type(x) is _compat.ArrayImpl and x.is_deleted():
            return plan.structure.leaf_path(i)[1]
    return None


def path_of(module: Module) -> str:
    """The path to a Module from the root that the user's code holds, such as ``model.layers[2]``."""
    chain = list(here.calls)
    chain = chain[: chain.index(module) + 1] if module in chain else [*chain, module]
    root = _outermost_owner(chain[0])
    if root is not chain[0]:
        chain.insert(0, root)
    path = ""
    for parent, child in pairwise(chain):
        step = find(parent, child)
        if step is None:  # built on the way, or held by something that is no Module
            path, root = "", child
        else:
            path += displayed(step)
    return (variable_of(root) or _within_a_variable(root) or "model") + path


def _within_a_variable(module: Module) -> str | None:
    """The way to a Module through a caller's variable that holds a larger one, as ``model.layers[1]``."""
    for frame in _frames():
        for name, value in [*frame.f_locals.items(), *frame.f_globals.items()]:
            if isinstance(value, _layout.module_class) and not name.startswith((".", "_")):
                step = None if _is_self(frame, name, value) else find(value, module)
                if step is not None:
                    return name + displayed(step)
    return None


def find(parent: Module, child: Module) -> Path | None:
    """The shortest way from one Module down to another, by attributes and containers."""
    if parent is child:
        return ()
    queue: list[tuple[Module, Path]] = [(parent, ())]
    seen: set[int] = {id(parent)}
    for module, path in queue:
        for step, value in _children(module):
            if value is child:
                return (*path, *step)
            if id(value) not in seen:
                seen.add(id(value))
                queue.append((value, (*path, *step)))
    return None


def _children(module: Module) -> list[tuple[Path, Module]]:
    from phlox.core.module._module import examine

    anatomy = examine(module)
    return [
        (p, v)
        for p, v in zip(anatomy.layout.paths, anatomy.items(), strict=True)
        if isinstance(v, _layout.module_class)
    ]


def _frames() -> list[FrameType]:
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if not _internal(frame):
            frames.append(frame)
        frame = frame.f_back
    return frames


def _internal(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    return name.startswith(("phlox.core", "jax.", "jax._src"))


def _outermost_owner(module: Module) -> Module:
    """The Module whose method called ``module``, where that method was not ``__call__``."""
    owner: Any = module
    running = {id(m) for m in here.calls}  # they are below it, and a search in each would take long
    for frame in _frames():
        first = frame.f_code.co_varnames[:1] if frame.f_code.co_argcount else ()
        candidate: Any = frame.f_locals.get(first[0]) if first else None
        if (
            isinstance(candidate, _layout.module_class)
            and id(candidate) not in running
            and candidate is not owner
            and find(candidate, owner) is not None
        ):
            owner = candidate
    return owner


def variable_of(module: Module) -> str | None:
    """The name of a caller's variable that holds the Module; the nearest caller's wins."""
    for frame in _frames():
        for name, value in frame.f_locals.items():
            if value is module and not name.startswith((".", "_")) and not _is_self(frame, name, module):
                return name
        if frame.f_code.co_name == "<module>":
            break
    return _global_name(module)


def _is_self(frame: FrameType, name: str, module: Module) -> bool:
    """True for the first parameter of one of the Module's own methods, whatever it is called."""
    code = frame.f_code
    if name == "self":
        return True
    if not code.co_argcount or code.co_varnames[0] != name:
        return False
    method: Any = getattr(type(module), code.co_name, None)
    return method is not None and getattr(inspect.unwrap(method), "__code__", None) is code


def _global_name(module: Module) -> str | None:
    for frame in _frames():
        for name, value in frame.f_globals.items():
            if value is module and not name.startswith("_"):
                return name
    return None
