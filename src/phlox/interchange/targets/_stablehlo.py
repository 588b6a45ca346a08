"""StableHLO by ``jax.export``: one program for several platforms, weights as arguments in a file beside it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export

from phlox.core import ExportError, MissingExtraError, PhloxError
from phlox.core._compat import without_places
from phlox.interchange._program import Program, telling
from phlox.interchange._scopes import CALLBACKS, operations
from phlox.interchange.targets._target import Run, add_target, file_of
from phlox.nn import reference_forms
from phlox.weights import read_file, write_file

PLATFORMS = ("cpu", "cuda", "tpu")
WEIGHTS = "weights.safetensors"


class StableHLO:
    """XLA's own format; JAX runs it wherever it runs, within a window of its versions."""

    name = "stablehlo"
    runtime = "XLA"

    def file(self, signature: str) -> str:
        """The file of a signature."""
        return file_of("model", signature, "stablehlo")

    def require(self, where: str) -> None:
        """Refuse where the package that writes the file's frame is missing."""
        if importlib.util.find_spec("flatbuffers") is None:
            raise MissingExtraError("flatbuffers", got="none", fix='pip install "phlox[export]"', where=where)

    def write(self, programs: Sequence[Program], folder: Path) -> dict[str, dict[str, Any]]:
        """Write programs, and the weights of all of them once."""
        weights: dict[str, Any] = {}
        for program in programs:
            weights |= program.weights
        write_file(weights, folder / WEIGHTS, None, {}, programs[0].where)
        return {program.name: self._written(program, folder) for program in programs}

    def _written(self, program: Program, folder: Path) -> dict[str, Any]:
        made = exported(program)
        try:
            with reference_forms(), without_places():
                text, slopes = made.serialize(vjp_order=1), True
        except Exception:  # a loop of unknown length has no way back, and JAX has many words for it
            text, slopes = made.serialize(), False
        (folder / self.file(program.name)).write_bytes(text)
        return {
            "weights": WEIGHTS,
            "arguments": list(program.weights),
            "platforms": list(made.platforms),
            "differentiable": slopes,
            "calling_convention": made.calling_convention_version,
            "jax": jax.__version__,
        }

    def opened(self, program: Program, folder: Path) -> Run:
        """The program from its file, with the weights from theirs, compiled here."""
        made = read_program(folder / self.file(program.name))
        arrays, _ = read_file(folder / WEIGHTS, program.where)
        weights = [jax.numpy.asarray(arrays[name]) for name in program.weights]
        call = jax.jit(made.call)

        def run(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
            found = call(weights, [inputs[name] for name in program.inputs])
            return dict(zip(program.output_names, found, strict=True))

        return run


def read_program(path: Path) -> jax.export.Exported:
    """A program from its file."""
    return jax.export.deserialize(bytearray(path.read_bytes()))


def exported(program: Program) -> jax.export.Exported:
    """The program for all platforms.

    Raises:
        ExportError: it has an operation that no file can hold.
    """
    try:
        with reference_forms(), telling(program.where), without_places():
            return jax.export.export(program.jitted, platforms=PLATFORMS)(*program.structs())
    except PhloxError:
        raise
    except (ValueError, TypeError, NotImplementedError) as error:
        raise _refusal(program, error) from error


def _refusal(program: Program, error: Exception) -> ExportError:
    """The error of a program that cannot be written, with the layer of the operation that is in the way."""
    odd = next((op for op in operations(program.traced.jaxpr.jaxpr) if op.name in CALLBACKS), None)
    if odd is None:
        got = str(error).splitlines()[0][:300]
        fix = "compute it in operations of jax.numpy and jax.lax"
    else:
        got = f"{odd.name} at {odd.layer or 'the model itself'}, which runs Python"
        fix = "write it with jax.numpy; or take its result as an input, and call Python outside of the file"
    return ExportError("operations that StableHLO has", got=got, fix=fix, where=program.where)


add_target(StableHLO())
