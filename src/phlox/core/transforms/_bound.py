"""Functions that bring Modules along: a Module as it is called, a method of one, a partial that holds one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any

import jax

from phlox.core.module._arrays import is_array
from phlox.core.module._module import Module
from phlox.core.transforms._functionalize import is_module


def carried(fn: Callable[..., Any]) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """The function underneath, and the arguments that it brings along, which come first.

    So ``px.grad(model.loss)`` treats ``model`` as an argument: what the method writes is written back.
    """
    if isinstance(fn, Module):
        return type(fn).__call__, (fn,), {}
    if isinstance(fn, MethodType) and isinstance(fn.__self__, Module):
        return fn.__func__, (fn.__self__,), {}
    if isinstance(fn, functools.partial):
        inner, args, named = carried(fn.func)
        if args or any(map(is_module, jax.tree_util.tree_leaves((fn.args, fn.keywords), is_leaf=is_module))):
            return inner, (*args, *fn.args), {**named, **fn.keywords}
    return fn, (), {}


def constants(args: tuple[Any, ...], named: dict[str, Any]) -> tuple[list[int], list[str]]:
    """Positions and names of what such a function brings along and holds no array: constants of a program."""
    return [n for n, v in enumerate(args) if not _holds_arrays(v)], [
        k for k, v in named.items() if not _holds_arrays(v)
    ]


def _holds_arrays(value: Any) -> bool:
    return any(is_module(v) or is_array(v) for v in jax.tree_util.tree_leaves(value, is_leaf=is_module))


def named_after(fn: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``functools.wraps`` that leaves a Module's attributes, and so its arrays, with the Module."""
    return functools.wraps(fn, updated=()) if isinstance(fn, Module) else functools.wraps(fn)
