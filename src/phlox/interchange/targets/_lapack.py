"""Linear algebra that JAX leaves to LAPACK, which other runtimes of XLA do not bring: refused, with its layer."""

from __future__ import annotations

import re

import jax.export

from phlox.core import ExportError
from phlox.interchange._program import Program
from phlox.interchange._scopes import operations

_CALL = re.compile(r"custom_call @((?:lapack|blas)_\w+)")
_OPERATIONS = {
    "cholesky", "cholesky_update", "eig", "eigh", "geqp3", "geqrf", "hessenberg", "householder_product", "lu", "ormqr",
    "qr", "schur", "svd", "symmetric_product", "triangular_solve", "tridiagonal", "tridiagonal_solve",
}  # fmt: skip


def refuse_lapack(program: Program, made: jax.export.Exported, runtime: str) -> None:
    """Refuse a program that calls LAPACK on a processor.

    Raises:
        ExportError: it does; names the operation and the layer it stands in.
    """
    call = _CALL.search(made.mlir_module())
    if call is None:
        return
    odd = next((op for op in operations(program.traced.jaxpr.jaxpr) if op.name in _OPERATIONS), None)
    at = "the model" if odd is None else f"{odd.name} at {odd.layer or 'the model itself'}"
    raise ExportError(
        f"operations that {runtime} has", got=f"{at}, for which JAX calls {call[1]} of LAPACK",
        fix="compute it before or after the file; or choose StableHLO, which JAX runs", where=program.where,
    )  # fmt: skip
