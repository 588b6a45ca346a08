"""Operations that LiteRT has no form for: what each is, and what would help."""

from __future__ import annotations

from typing import Any

from phlox.core import ExportError
from phlox.interchange._scopes import CALLBACKS, operations

REFUSED: dict[str, tuple[str, str]] = {}
"""For each operation that is refused: what it is, and what would help."""

COMPLEX = ("complex numbers", "compute with two real arrays, of the real and the imaginary parts")
"""The same for arrays of a kind; the converter says where they stand, as it takes some of them."""


def _several(names: str, what: str, fix: str) -> None:
    for name in names.split():
        REFUSED[name] = (what, fix)


_several(
    "random_bits random_wrap random_unwrap random_fold_in random_split random_clone random_gamma random_seed "
    "threefry2x32 rng_bit_generator rng_uniform iota_2x32_shape",
    "a draw of random numbers",
    "give the model what it draws as an input, or take the layer that draws out",
)
_several(
    " ".join(sorted(CALLBACKS)),
    "a call into Python",
    "write it with jax.numpy; or take its result as an input, and call Python outside of the file",
)
_several(
    "cholesky qr householder_product geqrf svd eig eigh lu triangular_solve tridiagonal_solve schur "
    "custom_linear_solve",
    "a decomposition or solution of linear equations",
    "compute it beforehand where it depends on weights only",
)
_several("population_count clz bitcast_convert_type", "the bits of a number", "put arithmetic in its place")
_several("ffi_call", "a call into compiled code", "export the operation's plain form")
_several(
    "psum pmax pmin ppermute all_gather all_to_all reduce_scatter axis_index shard_map",
    "several devices",
    "export the model as one device runs it",
)


def refuse(jaxpr: Any, where: str) -> None:
    """Refuse a program that has such an operation, before the converter is asked.

    Raises:
        ExportError: the first of them, with its layer.
    """
    for operation in operations(jaxpr):
        if operation.name in REFUSED:
            what, fix = REFUSED[operation.name]
            got = f"{operation.name} at {operation.layer or 'the model itself'}, {what}"
            raise ExportError("operations that LiteRT has", got=got, fix=fix, where=where)
