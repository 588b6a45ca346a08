"""Servables that ONNX Runtime runs: anybody's ONNX file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phlox.core import ExportError, MissingExtraError
from phlox.serving.engine._drawing import drawn_for
from phlox.serving.engine._servable import TEXT, Arrays, Servable
from phlox.weights import Bundle, BundleArray, Example, Signature, read_examples

_DTYPES = {
    "float": "float32", "double": "float64", "float16": "float16", "bfloat16": "bfloat16", "string": TEXT,
    "bool": "bool", **{f"{u}int{n}": f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)},
}  # fmt: skip

_LOOPS = tuple(b"\x22%c%b" % (len(name), name) for name in (b"Loop", b"Scan", b"If"))  # as a node's field has them


class ONNXServable(Servable):
    """ONNX files, one for each signature, each in a session of ONNX Runtime.

    Arguments:
        files: by signature.
        where: the function that speaks in errors.
        bundle: the bundle that they are of; without one, inputs and outputs are what the file says.

    Raises:
        MissingExtraError: there is no ONNX Runtime.
        ExportError: it does not run the file.
    """

    runtime = "ONNX Runtime"

    def __init__(self, files: Mapping[str, Path], where: str, bundle: Bundle | None = None):
        self.sessions = {name: _session(path, where) for name, path in files.items()}
        told = {name: _signature(session, where) for name, session in self.sessions.items()}
        super().__init__(signatures=told if bundle is None else bundle.signatures)
        self.bundle, self._files = bundle, dict(files)
        self._examples = {} if bundle is None else read_examples(bundle)
        self._taken = {name: {x.name for x in session.get_inputs()} for name, session in self.sessions.items()}
        if bundle is not None:
            self.encoders, self.classes = bundle.encoders, bundle.classes

    def predict(self, signature: str, inputs: Arrays) -> Arrays:
        names = [x.name for x in self.signatures[signature].outputs]
        given = {n: x for n, x in inputs.items() if n in self._taken[signature]}
        return dict(zip(names, self.sessions[signature].run(names, given), strict=True))

    def examples(self, signature: str) -> Sequence[Example]:
        known = self._examples.get(signature)
        return known or [Example(x, {}) for x in drawn_for(self.signatures[signature])]

    def is_steady(self, signature: str) -> bool:
        text = any(x.dtype == TEXT for x in self.signatures[signature].inputs)
        return not text and not any(name in self._files[signature].read_bytes() for name in _LOOPS)

    def close(self) -> None:
        self.sessions.clear()


def _session(path: Path, where: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", got="none", fix='pip install "phlox[onnx]"', where=where) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        fix = "look whether the file is whole, and of an opset that this ONNX Runtime knows"
        got = f"{type(error).__name__}: {str(error).strip()[:300]}"
        raise ExportError(f"{path.name} to run in ONNX Runtime", got=got, fix=fix, where=where) from error


def _signature(session: Any, where: str) -> Signature:
    """What a file says of itself; a first size without a number is the batch, as every exporter writes it."""
    inputs = tuple(_array(x, where) for x in session.get_inputs())
    outputs = tuple(_array(x, where) for x in session.get_outputs())
    return Signature(inputs, outputs)


def _array(told: Any, where: str) -> BundleArray:
    kind = told.type.removeprefix("tensor(").removesuffix(")")
    if kind not in _DTYPES:
        fix = "give the graph inputs and outputs that are tensors of numbers or text"
        raise ExportError(f"tensors for {told.name}", got=told.type, fix=fix, where=where)
    shape = [n if isinstance(n, int) and n > 0 else n or f"{told.name}_{i}" for i, n in enumerate(told.shape or [])]
    if shape and not isinstance(shape[0], int):
        shape[0] = "batch"
    return BundleArray(told.name, tuple(n if isinstance(n, int) else _symbol(n) for n in shape), _DTYPES[kind])


def _symbol(name: Any) -> str:
    """A name of a size that ours may have."""
    plain = "".join(c if c.isalnum() and c.isascii() else "_" for c in str(name))
    return plain if plain[:1].isalpha() else f"n{plain}"
