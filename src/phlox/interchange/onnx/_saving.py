"""A model as a file; weights beyond what one such file can hold stand beside it."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import onnx
import onnx_ir as ir

from phlox.weights import file_error

LIMIT = 2**31 - 2**20
"""Bytes of weights from which on they get a file of their own: protobuf has no message of 2 GiB."""

_APART = 1024  # bytes; a smaller array stays in the model's file


def save_onnx(model: onnx.ModelProto, path: str | os.PathLike[str], *, limit: int = LIMIT) -> list[Path]:
    """Write a model; give the files: the model, and that of its weights if there is one.

    Weights of more bytes than the limit stand in a file of the model's name with ``.data`` behind it. An old one of
    that name goes where the model needs none any more. Both files are whole before either takes its place, the
    weights first.

    Arguments:
        path: the file to write.
        limit: bytes of weights that still go into it.

    Raises:
        FileError: a file cannot be written.

    Source: https://onnx.ai/onnx/repo-docs/ExternalData.html.
    """
    target = Path(path)
    data = target.with_name(f"{target.name}.data")
    apart = sum(_size(tensor) for tensor in model.graph.initializer) > limit
    try:
        with tempfile.TemporaryDirectory(prefix=".phlox-", dir=target.parent) as made:
            folder = Path(made)
            if apart:
                _written_apart(model, folder, target.name, data.name)
            else:
                (folder / target.name).write_bytes(model.SerializeToString())
            if apart:
                os.replace(folder / data.name, data)
            os.replace(folder / target.name, target)
        if not apart:
            with suppress(FileNotFoundError):
                data.unlink()
    except OSError as error:
        if error.errno is None:
            raise
        raise file_error(error, path, "save_onnx") from error
    return [target, data] if apart else [target]


def _size(tensor: onnx.TensorProto) -> int:
    """About how many bytes an array takes."""
    return len(tensor.raw_data) or tensor.ByteSize()


def _written_apart(model: onnx.ModelProto, folder: Path, name: str, data: str) -> None:
    """The model's file and that of its weights, in a folder."""
    ir.save(ir.from_proto(model), folder / name, external_data=data, size_threshold_bytes=_APART)
