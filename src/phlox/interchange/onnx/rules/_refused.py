"""Operations that ONNX has no form for: what each is, and what would help."""

from __future__ import annotations

from functools import partial
from typing import Any

from phlox.interchange._xla_only import XLA_ONLY, Refused, several
from phlox.interchange.onnx._graph import Graph, Value
from phlox.interchange.onnx._step import Rules, Step

RULES = Rules()

REFUSED: Refused = {
    **XLA_ONLY,
    **several(
        "pure_callback io_callback debug_callback debug_print",
        "a call into Python",
        "leave it out of the model that is exported",
    ),
    **several(
        "erf_inv lgamma digamma polygamma zeta igamma igammac regularized_incomplete_beta bessel_i0e bessel_i1e",
        "a special function",
        "compute it beforehand, or put an approximation in its place",
    ),
    **several(
        "population_count clz mulhi nextafter bitcast_convert_type",
        "the bits of a number",
        "put arithmetic in its place",
    ),
    **several(
        "select_and_scatter_add select_and_gather_add select_and_scatter",
        "the gradient of pooling",
        "export the forward pass",
    ),
}


def _refuse(what: str, fix: str, graph: Graph, step: Step, *xs: Value) -> Any:
    raise step.refusal(what, fix)


for _name, (_what, _fix) in REFUSED.items():
    RULES.on(_name)(partial(_refuse, _what, _fix))
