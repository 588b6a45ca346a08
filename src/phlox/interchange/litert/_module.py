"""A program as the text of a StableHLO module, its weights within."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

from phlox.core._compat import without_places
from phlox.interchange.litert import _loops, _operations
from phlox.interchange.litert._retrace import retraced
from phlox.nn import whole_operations

if TYPE_CHECKING:
    from phlox.interchange._program import Program

def module_text(program: Program) -> str:
    """The module, in which operations tell the layers that they come from."""
    closed = program.whole.jaxpr
    run = retraced(closed, {**_loops.RULES, **_operations.RULES})
    weights = list(program.weights.values())
    with whole_operations(), without_places():
        traced = jax.jit(lambda *inputs: run([*weights, *inputs]), keep_unused=True).trace(*program.structs()[1])
        return traced.lower(lowering_platforms=("cpu",)).as_text(debug_info=True)
