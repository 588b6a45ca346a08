"""A model whose layers write their paths beside the operations that they trace."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import jax

from phlox.core import Module, copy, modules

M = TypeVar("M", bound=Module)

LAYER = "layer:"
"""What comes before the path of a layer in the names that operations carry."""


def named(model: M) -> M:
    """A copy whose operations carry the path of the layer that they belong to.

    >>> import jax, phlox as px
    >>> twice = named(px.Chain(px.Dense(2, 2), px.Dense(2, 2)))
    >>> jaxpr = jax.make_jaxpr(lambda x: twice(x))(jax.ShapeDtypeStruct((1, 2), "float32"))
    >>> str(jaxpr.eqns[-1].source_info.name_stack)
    'layer:layers.1'
    """
    marked = copy(model)
    for path, module in modules(marked).items():
        if path and any("__call__" in c.__dict__ for c in type(module).__mro__):
            module.__class__ = _naming(type(module))
            module._path_here = LAYER + path
    return marked


@functools.cache
def _naming(cls: type[Module]) -> type[Module]:
    """A class like ``cls`` whose calls name their operations; made once for each class."""

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        with jax.named_scope(self._path_here):
            return cls.__call__(self, *args, **kwargs)

    return type(cls.__name__, (cls,), {"__call__": __call__, "__module__": cls.__module__})
