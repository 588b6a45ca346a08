"""Operations that ONNX has no form for: what each is, and what would help."""

from __future__ import annotations

from functools import partial
from typing import Any

from phlox.interchange.onnx._graph import Graph, Value
from phlox.interchange.onnx._step import Rules, Step

RULES = Rules()

REFUSED: dict[str, tuple[str, str]] = {}
"""For each operation that is refused: what it is, and what would help."""


def _several(names: str, what: str, fix: str) -> None:
    for name in names.split():
        REFUSED[name] = (what, fix)


_several(
    "random_bits random_seed random_wrap random_unwrap random_fold_in random_split random_clone random_gamma "
    "threefry2x32 rng_bit_generator rng_uniform iota_2x32_shape",
    "a draw of random numbers",
    "give the model what it draws as an input, or take the layer that draws out",
)
_several(
    "pure_callback io_callback debug_callback debug_print",
    "a call into Python",
    "leave it out of the model that is exported",
)
_several(
    "cholesky qr householder_product geqrf svd eig eigh lu triangular_solve tridiagonal_solve schur "
    "custom_linear_solve",
    "a decomposition or solution of linear equations",
    "compute it beforehand where it depends on weights only",
)
_several(
    "erf_inv lgamma digamma polygamma zeta igamma igammac regularized_incomplete_beta bessel_i0e bessel_i1e",
    "a special function",
    "compute it beforehand, or put an approximation in its place",
)
_several(
    "population_count clz mulhi nextafter bitcast_convert_type",
    "the bits of a number",
    "put arithmetic in its place",
)
_several("ffi_call", "a call into compiled code", "export the operation's plain form")
_several(
    "psum pmax pmin ppermute all_gather all_to_all reduce_scatter axis_index shard_map",
    "several devices",
    "export the model as one device runs it",
)
_several(
    "select_and_scatter_add select_and_gather_add select_and_scatter",
    "the gradient of pooling",
    "export the forward pass",
)


def _refuse(what: str, fix: str, graph: Graph, step: Step, *xs: Value) -> Any:
    raise step.refusal(what, fix)


for _name, (_what, _fix) in REFUSED.items():
    RULES.on(_name)(partial(_refuse, _what, _fix))
