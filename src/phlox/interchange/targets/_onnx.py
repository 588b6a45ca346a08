"""ONNX by ``interchange/onnx``, run by ONNX Runtime."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phlox.core import MissingExtraError
from phlox.interchange._program import Program
from phlox.interchange.onnx import convert, opset_of
from phlox.interchange.targets._target import Run, add_target, file_of

_PACKAGES = ("onnx", "onnx_ir", "onnxruntime")
_LARGE = 1 << 30  # bytes of weights beyond which they get a file of their own: the format ends at 2 GiB

EXACT = {"session.qdq_matmulnbits_accuracy_level": "1"}
"""What makes ONNX Runtime multiply integers of weights with inputs as they are; by itself it rounds them to 8 bits."""


class ONNX:
    """The format that most runtimes read."""

    name = "onnx"
    runtime = "ONNX Runtime"

    def file(self, signature: str) -> str:
        """The file of a signature."""
        return file_of("model", signature, "onnx")

    def require(self, where: str) -> None:
        """Refuse where a package is missing."""
        for package in _PACKAGES:
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, got="none", fix='pip install "phlox[onnx]"', where=where)

    def write(self, programs: Sequence[Program], folder: Path) -> dict[str, dict[str, Any]]:
        """Write each program with its weights."""
        return {program.name: self._written(program, folder) for program in programs}

    def _written(self, program: Program, folder: Path) -> dict[str, Any]:
        from phlox.interchange.onnx._saving import save_onnx  # with the packages that `require` asks for
        from phlox.interchange.onnx.tidy import tidy

        whole = program.whole.jaxpr
        plain = convert(
            whole,
            weights={name: np.asarray(x) for name, x in program.weights.items()},
            inputs=list(program.inputs),
            outputs=list(program.output_names),
            symbols=program.sizes.symbols(),
            state=program.state,
            opset=opset_of(whole.jaxpr),
        )
        name = self.file(program.name)
        made = tidy(plain)
        save_onnx(made, folder / name, limit=_LARGE)
        return {"opset": max(o.version for o in made.opset_import if o.domain == ""), "ir_version": made.ir_version}

    def opened(self, program: Program, folder: Path) -> Run:
        """The program in a session on the CPU."""
        import onnxruntime

        path, where = str(folder / self.file(program.name)), ["CPUExecutionProvider"]
        options = onnxruntime.SessionOptions()
        for name, value in EXACT.items():
            options.add_session_config_entry(name, value)
        session = onnxruntime.InferenceSession(path, options, providers=where)
        taken = {x.name for x in session.get_inputs()}

        def run(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
            found = session.run(list(program.output_names), {n: np.asarray(x) for n, x in inputs.items() if n in taken})
            return dict(zip(program.output_names, found, strict=True))

        return run


add_target(ONNX())
