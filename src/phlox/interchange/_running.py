"""Signatures as compiled functions of arrays, for whoever runs them again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax

from phlox.core import ExportError, Module
from phlox.interchange._loaded import load_exported
from phlox.interchange._program import Program, Request
from phlox.interchange._requests import request_again
from phlox.interchange._sizes import Sizes
from phlox.interchange._spec import specs_of
from phlox.interchange.targets._stablehlo import StableHLO
from phlox.interchange.targets._target import DEFAULT
from phlox.weights import MODEL, Allowed, Bundle, Signature, load

_UNSTEADY = ("stablehlo.while", "stablehlo.case", "stablehlo.if", "callback")


class Runnable:
    """One signature as a function of its inputs in order, compiled once for each shape; gives its outputs in order.

    Arguments:
        signature: what it takes and gives.
        call: a function under ``jax.jit``, of weights and inputs.
        weights: the weights.
    """

    signature: Signature

    def __init__(self, signature: Signature, call: Any, weights: list[Any]):
        self.signature, self._call, self._weights = signature, call, weights

    def __call__(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return self._call(self._weights, list(inputs))

    def is_steady(self, inputs: Sequence[Any]) -> bool:
        """Whether how long it takes depends on the inputs' sizes alone: no loop, and nothing of Python's."""
        text = self._call.lower(self._weights, list(inputs)).as_text()
        return not any(name in text for name in _UNSTEADY)

    def forget(self) -> None:
        """Let go of all that was compiled; it is compiled again as it is needed."""
        self._call.clear_cache()


def runnables_of_model(
    model: Module, inputs: Mapping[str, Any], *, sizes: Mapping[str, Any] | None = None, where: str
) -> dict[str, Runnable]:
    """A model's own call, for inputs as ``px.export`` takes them.

    Raises:
        ExportError: a forward that draws or moves State, or sizes that cannot be symbols.
        ShapeError: the model does not take these inputs.
    """
    request = Request(DEFAULT, type(model).__call__, specs_of(inputs, where), method="__call__")
    return {DEFAULT: _runnable(model, request, Sizes(list(request.inputs.values()), sizes, where), where)}


def runnables_of_bundle(
    bundle: Bundle, *, allow: Iterable[Any] = (), prepare: Callable[[Module], Module] | None = None, where: str
) -> dict[str, Runnable]:
    """The signatures of a bundle, rebuilt from its ``model.phlox``: they run with the kernels of this machine.

    Arguments:
        prepare: makes a model that computes the same of the one in the file.

    Raises:
        ExportError: the bundle has no such file, a function without a name, or a model that has changed since.
        NotAllowedError: a name that is not allowed.
        FileError: the file cannot be read.
    """
    if MODEL not in bundle.files:
        fix = "run its StableHLO"
        raise ExportError(f"a bundle with a {MODEL}", got="none: the model could not be held", fix=fix, where=where)
    model = load(bundle.folder / MODEL, allow=allow)
    model = model if prepare is None else prepare(model)
    allowed = Allowed(allow, where)
    requests = [request_again(name, told, model, allowed, where) for name, told in bundle.signatures.items()]
    bounds = {n: pair for told in bundle.signatures.values() for n, pair in told.sizes.items()}
    sizes = Sizes([spec for r in requests for spec in r.inputs.values()], bounds or None, where)
    found = {r.name: _runnable(model, r, sizes, where) for r in requests}
    for name, told in bundle.signatures.items():
        if found[name].signature.outputs != told.outputs:
            got, fix = str(found[name].signature), "export the model anew, where its code is"
            raise ExportError(f"{name} to be {told}, as it was exported", got=got, fix=fix, where=where)
    return found


def runnables_of_stablehlo(bundle: Bundle) -> dict[str, Runnable]:
    """The signatures of a bundle as its StableHLO has them.

    Raises:
        ExportError: it has none, or one that this JAX or this machine does not run.
    """
    exported = load_exported(bundle.folder)
    held = exported.held
    details = {name: written.details for name, written in held.bundle.targets[StableHLO.name].items()}
    return {
        name: Runnable(told, held.calls[name], [exported.weights[n] for n in details[name]["arguments"]])
        for name, told in held.bundle.signatures.items()
    }


def _runnable(model: Module, request: Request, sizes: Sizes, where: str) -> Runnable:
    """A program that is traced in this machine's kernels, where the files' programs are plain."""
    program = Program(model, request, sizes, where)
    call = jax.jit(lambda weights, inputs: program.flat(weights, inputs), keep_unused=True)
    return Runnable(program.signature({}), call, list(program.weights.values()))
