"""Layers' paths, left in a traced program: each operation tells the layer that it comes from."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from phlox.core import Module, copy, modules

_MARK = "layer:"


def named_layers(model: Module) -> Module:
    """A copy whose parts run in a scope with their path as its name."""
    marked = copy(model)
    for path, part in modules(marked).items():
        if path and any("__call__" in c.__dict__ for c in type(part).__mro__):
            part.__class__ = _scoped(type(part), path)
            part._px.anatomy = None
    return marked


@functools.lru_cache(4096)
def _scoped(cls: type[Module], path: str) -> type[Module]:
    """A class like ``cls`` whose calls run in a scope; made once for each place."""

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        with jax.named_scope(f"{_MARK}{path}"):
            return cls.__call__(self, *args, **kwargs)

    return type(cls.__name__, (cls,), {"__call__": __call__, "__module__": cls.__module__})


class Operation(NamedTuple):
    """One operation of a traced program, and the path of the layer that it comes from."""

    name: str
    layer: str


def layer_of(equation: Any) -> str:
    """The path of the layer that an equation of a jaxpr comes from; nothing for the model itself."""
    parts = str(equation.source_info.name_stack).split("/")
    return next((part.removeprefix(_MARK) for part in reversed(parts) if part.startswith(_MARK)), "")


def operations(jaxpr: Any, within: str = "") -> Iterator[Operation]:
    """All operations of a jaxpr, those inside of loops and branches too."""
    for equation in jaxpr.eqns:
        layer = layer_of(equation) or within
        yield Operation(equation.primitive.name, layer)
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
            if _is_jaxpr(inner):
                yield from operations(getattr(inner, "jaxpr", inner), layer)


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")
