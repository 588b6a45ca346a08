"""ONNX files of integers, by ONNX Runtime's own tools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np


def write_int8(folder: Path, static: bool) -> None:
    """The ONNX file by ONNX Runtime's own tools, as its documentation has it for processors with VNNI."""
    from onnxruntime import quantization

    class Pictures(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left: Iterator[np.ndarray] = iter(np.load(folder / "measured.npy"))

        def get_next(self) -> dict[str, np.ndarray] | None:
            picture = next(self.left, None)
            return None if picture is None else {"x": picture[None]}

    given, made = folder / "float32" / "model.onnx", folder / "int8.onnx"
    if static:
        options = {"activation_type": quantization.QuantType.QUInt8, "weight_type": quantization.QuantType.QInt8}
        quantization.quantize_static(given, made, Pictures(), **options)
    else:
        quantization.quantize_dynamic(given, made, weight_type=quantization.QuantType.QInt8)
