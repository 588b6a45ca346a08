"""Layers' paths, left in a traced program: each operation tells the layer that it comes from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import jax

from phlox.core import Module, disguised, in_disguise, modules

_MARK = "layer:"
CALLBACKS = frozenset({"pure_callback", "io_callback", "debug_callback", "debug_print", "outside_call"})
"""Operations that run Python, which no file holds."""


def telling_layers(model: Module) -> AbstractContextManager[None]:
    """Within the block, parts of a model run in a scope with their path as its name, and copies of them too."""
    paths = {id(part): path for path, part in modules(model).items() if path and _is_called(part)}

    def disguise(_: str, part: Module) -> type[Module] | None:
        path = paths.get(id(part))
        return None if path is None else disguised(type(part), _scoped(path))

    return in_disguise(model, disguise)


def _is_called(part: Module) -> bool:
    return any("__call__" in kind.__dict__ for kind in type(part).__mro__)


@functools.lru_cache(4096)
def _scoped(path: str) -> Callable[..., Any]:
    """A call within the scope of a path; one for each, so that classes are made once."""

    def call(inner: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with scope_of(path):
            return inner(*args, **kwargs)

    return call


def scope_of(path: str) -> AbstractContextManager[Any]:
    """Within the block, what is traced comes from the layer of this path; without one, from where it would."""
    return jax.named_scope(f"{_MARK}{path}") if path else nullcontext()


class Operation(NamedTuple):
    """One operation of a traced program, the path of the layer that it comes from, and what the program has of it."""

    name: str
    layer: str
    equation: Any


def layer_of(equation: Any) -> str:
    """The path of the layer that an equation of a jaxpr comes from; nothing for the model itself."""
    parts = str(equation.source_info.name_stack).split("/")
    return next((part.removeprefix(_MARK) for part in reversed(parts) if part.startswith(_MARK)), "")


def operations(jaxpr: Any, within: str = "") -> Iterator[Operation]:
    """All operations of a jaxpr, those inside of loops and branches too."""
    for equation in jaxpr.eqns:
        layer = layer_of(equation) or within
        yield Operation(equation.primitive.name, layer, equation)
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
            if _is_jaxpr(inner):
                yield from operations(getattr(inner, "jaxpr", inner), layer)


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")
