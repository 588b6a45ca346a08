"""Operations that LiteRT has no form for: what each is, and what would help."""

from __future__ import annotations

from typing import Any

from phlox.core import ExportError
from phlox.interchange._scopes import CALLBACKS, operations
from phlox.interchange._xla_only import XLA_ONLY, Refused, several

COMPLEX = ("complex numbers", "compute with two real arrays, of the real and the imaginary parts")
"""The same for arrays of a kind; the converter says where they stand, as it takes some of them."""

REFUSED: Refused = {
    **XLA_ONLY,
    **several(
        " ".join(sorted(CALLBACKS)),
        "a call into Python",
        "write it with jax.numpy; or take its result as an input, and call Python outside of the file",
    ),
    **several("population_count clz bitcast_convert_type", "the bits of a number", "put arithmetic in its place"),
}


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
