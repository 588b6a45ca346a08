"""Where in a model something went wrong: the path from the root, under the name its user gave it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

from phlox.core import _compat
from phlox.core._errors import PhloxError, StructureError, lost_buffers
from phlox.core.context._frames import frames, is_self, variable_of
from phlox.core.context._here import Node, here
from phlox.core.module._anatomy import examine
from phlox.core.module._arrays import Path, displayed


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


def _first_dead(root: Node) -> Path | None:
    """The path to the first array of a Module whose buffer is gone, parents before their parts."""
    ways: dict[int, Path] = {id(root): ()}  # by the first parent that has it
    for module in _below(root):
        way = ways[id(module)]
        for step, item in _items(module):
            if isinstance(item, Node):
                ways.setdefault(id(item), (*way, *step))
            elif type(item) is _compat.ArrayImpl and item.is_deleted():
                return (*way, *step)
    return None


def _below(root: Node) -> Iterator[Node]:
    """A Module and all that is below it, each once, parents first."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        module = waiting.pop()
        if id(module) not in seen:
            seen.add(id(module))
            yield module
            waiting += [part for _, part in reversed(_children(module))]


def path_of(module: Node) -> str:
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


def _within_a_variable(module: Node) -> str | None:
    """The way to a Module through a caller's variable that holds a larger one, as ``model.layers[1]``."""
    for frame in frames():
        for name, value in [*frame.f_locals.items(), *frame.f_globals.items()]:
            if isinstance(value, Node) and not name.startswith((".", "_")):
                step = None if is_self(frame, name, value) else find(value, module)
                if step is not None:
                    return name + displayed(step)
    return None


def find(parent: Node, child: Node) -> Path | None:
    """The shortest way from one Module down to another, by attributes and containers."""
    if parent is child:
        return ()
    queue: list[tuple[Node, Path]] = [(parent, ())]
    seen: set[int] = {id(parent)}
    for module, path in queue:
        for step, value in _children(module):
            if value is child:
                return (*path, *step)
            if id(value) not in seen:
                seen.add(id(value))
                queue.append((value, (*path, *step)))
    return None


def _children(module: Node) -> list[tuple[Path, Node]]:
    return [(path, item) for path, item in _items(module) if isinstance(item, Node)]


def _items(module: Node) -> Iterator[tuple[Path, Any]]:
    """The arrays and Modules that a Module holds itself, with the ways to them."""
    anatomy = examine(module)
    return zip(anatomy.layout.paths, anatomy.items(), strict=True)


def _outermost_owner(module: Node) -> Node:
    """The Module whose method called ``module``, where that method was not ``__call__``."""
    owner: Any = module
    running = {id(m) for m in here.calls}  # they are below it, and a search in each would take long
    for frame in frames():
        first = frame.f_code.co_varnames[:1] if frame.f_code.co_argcount else ()
        candidate: Any = frame.f_locals.get(first[0]) if first else None
        if (
            isinstance(candidate, Node)
            and id(candidate) not in running
            and candidate is not owner
            and find(candidate, owner) is not None
        ):
            owner = candidate
    return owner


def root_of(module: Node) -> str:
    """The variable at the root of the path, where a caller's frame has one, else ``model``."""
    return path_of(module).partition(".")[0].partition("[")[0]


def where(module: Node) -> str:
    """Path and name on one line, for the first part of an error."""
    return f"{path_of(module)} {module._brief()}"
