"""The operations of a traced program, each with the layer that it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from phlox.core import layer_of

CALLBACKS = frozenset({"pure_callback", "io_callback", "debug_callback", "debug_print", "outside_call"})
"""Operations that run Python, which no file holds."""


class Operation(NamedTuple):
    """One operation of a traced program, the path of the layer that it comes from, and what the program has of it."""

    name: str
    layer: str
    equation: Any


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
