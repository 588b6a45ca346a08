"""What a user calls a function and its arguments: for errors, for JAX's own messages, for reports of traces."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Protocol

import jax

from phlox.core import _compat
from phlox.core.module._arrays import displayed
from phlox.core.module._plan import Structure


class Called(Protocol):
    """A ``Call`` as far as its names go: the function, what errors call the transform, the arguments taken apart."""

    fn: Callable[..., Any]
    kind: str
    label: str
    spec: list[tuple[str, Any]]  # what each leaf of the arguments is: a Module, an array, or static
    treedef: Any
    structure: Structure

    def pure(self, leaves: Sequence[Any], bare: Sequence[Any]) -> Any:
        """The function on copies around these arrays."""


def user_function(fn: Any) -> Any:
    """The function that a user wrote, under partials, wrappers and methods."""
    while True:
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif hasattr(fn, "__wrapped__"):
            fn = fn.__wrapped__
        else:
            return getattr(fn, "__func__", fn)


def name_of(fn: Any) -> str:
    """The name of a function; of a Module and other callables that of the class, in one word.

    >>> name_of(name_of), name_of(functools.partial(name_of))
    ('name_of', 'name_of')
    """
    fn = user_function(fn)
    return getattr(fn, "__name__", type(fn).__name__).replace(" ", "_")


def source_of(fn: Any) -> str:
    """Name, file and line, in the form in which JAX says them: ``step at train.py:12``."""
    code = _code_of(fn)
    return name_of(fn) + (f" at {code.co_filename}:{code.co_firstlineno}" if code is not None else "")


def place_of(fn: Any) -> str:
    """Name, file's name and line: ``step (train.py:12)``."""
    code = _code_of(fn)
    return name_of(fn) + (f" ({file_name(code.co_filename)}:{code.co_firstlineno})" if code is not None else "")


def _code_of(fn: Any) -> Any:
    inner = user_function(fn)
    if not hasattr(inner, "__code__"):
        inner = inspect.unwrap(type(inner).__call__) if callable(inner) else inner
    return getattr(inner, "__code__", None)


def file_name(path: str) -> str:
    """A file without its folders; ``<stdin>`` and its kind as they are."""
    return path if path.startswith("<") else os.path.basename(path)


def internal(frame: FrameType) -> bool:
    """True for frames of Phlox, JAX and NumPy: a user looks for the line that called them."""
    name = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] in ("phlox", "jax", "jaxlib", "numpy", "contextlib", "functools")


# --- the arguments of a call -------------------------------------------------------------------------


def argument_names(call: Called) -> list[str]:
    """For every leaf of the arguments (a Module is one), the parameter and the way to it from there: ``batch['x']``."""
    count = len(call.spec)
    try:
        tree = jax.tree_util.tree_unflatten(call.treedef, range(count))
        paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    except Exception:  # a node of the user's that cannot be built around numbers
        return [f"argument {n}" for n in range(count)]
    if len(paths) != count:
        return [f"argument {n}" for n in range(count)]
    named, rest = _parameters(call.fn)
    return [_argument(path, named, rest) for path in paths]


def _argument(path: Any, named: list[str], rest: str) -> str:
    first = path[1]
    if hasattr(first, "key"):
        name = str(first.key)
    elif first.idx < len(named):
        name = named[first.idx]
    else:
        name = f"{rest}[{first.idx - len(named)}]"
    return ("model" if name == "self" else name) + jax.tree_util.keystr(path[2:])


def _parameters(fn: Callable[..., Any]) -> tuple[list[str], str]:
    """The names of positional parameters, and that of those which ``*args`` takes."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return [], "args"
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    rest = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL), "args")
    return [p.name for p in parameters if p.kind in positional], rest


def root_names(call: Called) -> list[str]:
    """For each Module that is an argument, the way to it."""
    found: dict[int, str] = {}
    for name, (kind, v) in zip(argument_names(call), call.spec, strict=True):
        if kind == "module":
            found.setdefault(v, name)
    return [found[r] for r in range(len(call.structure.roots))]


def array_names(call: Called) -> tuple[list[str], list[str]]:
    """The ways to the arrays of Modules among the arguments, and to the bare ones."""
    roots, structure = root_names(call), call.structure
    routes = [structure.leaf_path(i) for i in range(len(structure.leaves))]
    bare = [n for n, (kind, _) in zip(argument_names(call), call.spec, strict=True) if kind == "array"]
    return [roots[root] + displayed(path) for root, path in routes], bare


def named(run: Callable[..., Any], call: Called, arrays: list[str]) -> Any:
    """``run``, which JAX is to trace, under the name, place and argument names of the user's function."""
    return _compat.known_as(run, name_of(call.fn), source_of(call.fn), f"px.{call.label}", arrays)


def pure_of(call: Called) -> Any:
    """The pure function of a call for JAX to trace, named as the user's."""
    leaves, bare = array_names(call)
    return named(lambda *xs: call.pure(*xs), call, [*leaves, *bare])
