"""What a bundle's signatures are made of, found again by the names that the bundle has."""

from __future__ import annotations

from typing import Any

from phlox.core import ExportError, Module
from phlox.interchange._program import Request
from phlox.interchange._spec import Spec
from phlox.weights import Allowed, Signature


def specs_again(told: Signature) -> dict[str, Spec]:
    """The inputs of a signature as ``px.export`` took them."""
    return {x.name: Spec(*x.shape, dtype=x.dtype, below=x.below) for x in told.inputs}


def functions_again(told: Signature, allowed: Allowed, where: str) -> dict[str, Any]:
    """The functions of a signature: ``preprocess``, ``postprocess``, ``function``; a method as its name.

    Raises:
        ExportError: one has no name to find it by.
        NotAllowedError: a name that is not allowed.
    """
    found: dict[str, Any] = {}
    for key, name in told.program.items():
        if not name:
            fix = f"export the model anew, where its code is, with a {key} that stands in a module under its own name"
            raise ExportError(f"a {key} with a name to find it by", got="one without", fix=fix, where=where)
        found["function" if key == "method" else key] = name if key == "method" else allowed.function(name)
    return found


def request_again(name: str, told: Signature, model: Module, allowed: Allowed, where: str) -> Request:
    """What is asked of a model by a signature of its bundle.

    Raises:
        ExportError, NotAllowedError: a function that is not found.
    """
    named = functions_again(told, allowed, where)
    called = named.pop("function", "__call__")
    method = called if isinstance(called, str) else ""
    function = getattr(type(model), called) if isinstance(called, str) else called
    return Request(name, function, specs_again(told), method=method, **named)
