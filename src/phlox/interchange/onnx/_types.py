"""Dtypes by ONNX's numbers, and which of them the operators of readers work on."""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.core import ExportError

ELEMENTS = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9,
    "float16": 10, "float64": 11, "uint32": 12, "uint64": 13, "bfloat16": 16,
}  # fmt: skip
"""ONNX's number for each dtype."""

NARROW = {"float8_e4m3fn": 17, "float8_e5m2": 19, "int4": 22}
"""The same of dtypes that weights alone have, which are made numbers before anything is computed."""

INT64 = np.dtype("int64")
INT32 = np.dtype("int32")
BOOL = np.dtype(bool)
FLOAT32 = np.dtype("float32")

# Readers promise every dtype that the standard names for an operator, and have kernels for these.
_COMPUTED = ("float16", "float32", "float64", "int32", "int64")


def element(dtype: Any) -> int:
    """ONNX's number for a dtype.

    Raises:
        ExportError: ONNX has no such dtype, or readers do not.

    >>> element(np.float32), element("bool")
    (1, 9)
    """
    name = np.dtype(dtype).name
    if name not in ELEMENTS:
        fix = "convert it to float32 or int32 in the model"
        raise ExportError("a dtype of " + ", ".join(ELEMENTS), got=name, fix=fix, where="ONNX")
    return ELEMENTS[name]


def computed_in(dtype: Any) -> np.dtype:
    """The dtype in which arithmetic on ``dtype`` is done: whole numbers of other widths as 64 bits, flags as 32.

    >>> [str(computed_in(d)) for d in ("float32", "uint8", "bool")]
    ['float32', 'int64', 'int32']
    """
    name = np.dtype(dtype).name
    if name in _COMPUTED:
        return np.dtype(dtype)
    if name == "bfloat16":
        return FLOAT32
    return INT32 if name == "bool" else INT64


def is_float(dtype: Any) -> bool:
    """Whether a dtype is floating, bfloat16 included.

    >>> is_float("float16"), is_float("int32")
    (True, False)
    """
    return np.dtype(dtype).name in ("bfloat16", "float16", "float32", "float64")


def lowest(dtype: Any) -> Any:
    """The identity of a maximum.

    >>> lowest("float32"), lowest("bool")
    (array(-inf, dtype=float32), array(False))
    """
    return _end(dtype, -1)


def highest(dtype: Any) -> Any:
    """The identity of a minimum.

    >>> int(highest("int32"))
    2147483647
    """
    return _end(dtype, 1)


def _end(dtype: Any, sign: int) -> Any:
    d = np.dtype(dtype)
    if d == BOOL:
        return np.array(sign > 0)
    if is_float(d):
        return np.array(sign * np.inf, d)
    return np.array(np.iinfo(d).max if sign > 0 else np.iinfo(d).min, d)
