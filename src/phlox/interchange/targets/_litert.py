"""LiteRT, the former TensorFlow Lite, by ``interchange/litert``, run by ai-edge-litert."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phlox.core import ExportError, MissingExtraError
from phlox.interchange._program import Program
from phlox.interchange.litert import PACKAGES, to_litert
from phlox.interchange.targets._target import Run, add_target


class LiteRT:
    """What phones and small machines run: one file, all sizes known."""

    name = "litert"
    runtime = "LiteRT"

    def file(self, signature: str) -> str:
        """The file, which all signatures share."""
        return "model.tflite"

    def require(self, where: str) -> None:
        """Refuse where a package is missing."""
        for package in PACKAGES:
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, got="none", fix='pip install "phlox[litert]"', where=where)

    def write(self, programs: Sequence[Program], folder: Path) -> dict[str, dict[str, Any]]:
        """Write programs as the signatures of one file."""
        fixed = [_fixed(program) for program in programs]
        (folder / self.file(programs[0].name)).write_bytes(to_litert(fixed))
        version = importlib.metadata.version("litert-converter")
        return {p.name: {"signature": p.name, "litert_converter": version} for p in programs}

    def opened(self, program: Program, folder: Path) -> Run:
        """The signature of a program in an interpreter on the CPU."""
        runtime = importlib.import_module("ai_edge_litert.interpreter")
        runner = runtime.Interpreter(str(folder / self.file(program.name))).get_signature_runner(program.name)
        taken = set(runner.get_input_details())

        def run(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
            return runner(**{n: np.asarray(x) for n, x in inputs.items() if n in taken})

        return run


def _fixed(program: Program) -> Program:
    """A program whose symbols have the one size that they may have.

    Raises:
        ExportError: a symbol may have several.
    """
    sizes: dict[str, int] = {}
    for name in dict.fromkeys(n for spec in program.inputs.values() for n in spec.shape if isinstance(n, str)):
        low, high = program.sizes.bounds.get(name, (0, 1))
        if low != high:
            raise ExportError(
                "sizes that are known: a LiteRT file has one for each", got=f"{name!r} in {program.name!r}",
                fix=f"give a number in its place, or sizes={{{name!r}: (1, 1)}}; a signature for each size you need",
                where=program.where,
            )  # fmt: skip
        sizes[name] = low
    return program.at(sizes) if sizes else program


add_target(LiteRT())
