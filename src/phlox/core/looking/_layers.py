"""Layers' paths, left in a traced program: each operation tells the layer that it comes from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax

from phlox.core.module._module import Module
from phlox.core.module._tree import modules
from phlox.core.transforms._disguise import disguised, in_disguise

_MARK = "layer:"


def telling_layers(model: Module, name: str = "") -> AbstractContextManager[None]:
    """Within the block, parts of a model run in a scope with their path as its name, and copies of them too.

    ``name`` is put in front of the paths, where there are several models; the model itself then has a scope too.
    """
    ways = {id(part): ".".join(filter(None, (name, path))) for path, part in modules(model).items()}
    paths = {id(part): ways[id(part)] for part in modules(model).values() if ways[id(part)] and _is_called(part)}

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


def layer_of(equation: Any) -> str:
    """The path of the layer that an equation of a jaxpr comes from; nothing for the model itself."""
    parts = str(equation.source_info.name_stack).split("/")
    return next((part.removeprefix(_MARK) for part in reversed(parts) if part.startswith(_MARK)), "")
