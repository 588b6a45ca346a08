"""What tells one call from another before its arguments are taken apart, and the arguments that are static."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from phlox.core import _compat
from phlox.core._static import static_key
from phlox.core.module._arrays import is_array
from phlox.core.module._module import Module
from phlox.core.transforms._functionalize import SCALARS, is_module

_ARRAY = "array"
_PLAIN = (_compat.ArrayImpl, np.ndarray)


def quick_key(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, list[Any]]:
    """What tells one call from another short of shapes and dtypes, and the arrays in the arguments."""
    key: list[Any] = []
    bare: list[Any] = []
    if kwargs:
        names = sorted(kwargs)
        args = (*args, *[kwargs[n] for n in names])
        key.append(tuple(names))
    for a in args:
        if type(a) in _PLAIN:
            key.append(_ARRAY)
            bare.append(a)
        elif isinstance(a, Module):
            key.append(a._px.uid)
        else:
            leaves, treedef = jax.tree_util.tree_flatten(a, is_leaf=is_module)
            key.append(treedef)
            for leaf in leaves:
                if isinstance(leaf, Module):
                    key.append(leaf._px.uid)
                elif is_array(leaf) or isinstance(leaf, SCALARS):
                    key.append(_ARRAY)
                    bare.append(leaf)
                else:
                    key.append(static_key(leaf))
    return tuple(key), bare


class Hidden:
    """A static argument on its way through the taking apart; compared by type and value."""

    __slots__ = ("key", "value")

    def __init__(self, value: Any):
        self.value, self.key = value, static_key(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def unhidden(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function, for arguments some of which are hidden."""

    @functools.wraps(fn)
    def with_statics(*args: Any, **kwargs: Any) -> Any:
        show = lambda v: v.value if isinstance(v, Hidden) else v  # noqa: E731
        return fn(*map(show, args), **{k: show(v) for k, v in kwargs.items()})

    return with_statics


def names_at(fn: Callable[..., Any], numbers: Sequence[int]) -> frozenset[str]:
    """The names of the parameters at these positions."""
    parameters = parameters_of(fn)
    return frozenset(parameters[n] for n in numbers if -len(parameters) <= n < len(parameters))


def numbers_of(fn: Callable[..., Any], names: Sequence[str]) -> frozenset[int]:
    """The positions of the parameters of these names."""
    parameters = parameters_of(fn)
    return frozenset(parameters.index(n) for n in names if n in parameters)


def parameters_of(fn: Callable[..., Any]) -> list[str]:
    """The names of a function's parameters, in order; none where it does not tell."""
    try:
        return list(inspect.signature(fn).parameters)
    except (TypeError, ValueError):
        return []
