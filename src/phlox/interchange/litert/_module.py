"""A program as the text of a StableHLO module, its weights within."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
from jax.interpreters import partial_eval

from phlox.core._compat import without_places
from phlox.interchange.litert import _complex, _loops, _operations, _quantized, _unsigned
from phlox.interchange.litert._complex import paired, refuse_complex
from phlox.interchange.litert._refused import refuse
from phlox.interchange.litert._retrace import retraced
from phlox.nn import whole_operations

if TYPE_CHECKING:
    from phlox.interchange._program import Program

_TABLES = (_loops.RULES, _complex.RULES, _unsigned.RULES, _quantized.RULES, _operations.RULES)


def module_text(program: Program) -> str:
    """The module, in which operations tell the layers that they come from.

    Raises:
        ExportError: an operation that LiteRT has no form for.
    """
    closed = _live(program.whole.jaxpr)
    refuse(closed.jaxpr, program.where)
    refuse_complex(closed, program.where)
    run, weights = retraced(closed, _TABLES, paired), [paired(x) for x in program.weights.values()]
    with whole_operations(), without_places():
        traced = jax.jit(lambda *inputs: run([*weights, *inputs]), keep_unused=True).trace(*program.structs()[1])
        return traced.lower(lowering_platforms=("cpu",)).as_text(debug_info=True)


def _live(closed: Any) -> Any:
    """What an output depends on."""
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    return closed.replace(jaxpr=jaxpr)
