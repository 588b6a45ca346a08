"""Tensors as bytes: little-endian, the last axis fastest; text with its length before it."""

from __future__ import annotations

import struct
from typing import Any

import ml_dtypes
import numpy as np

from phlox.serving._errors import InvalidRequestError

DATATYPES: dict[str, str] = {
    "BOOL": "bool", "FP16": "float16", "FP32": "float32", "FP64": "float64", "BF16": "bfloat16", "BYTES": "str",
    **{f"{u.upper()}INT{n}": f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)},
}  # fmt: skip
"""Dtypes by KServe's names."""
NAMES = {dtype: name for name, dtype in DATATYPES.items()} | {"key": "UINT32"}


def dtype_of(datatype: str) -> np.dtype[Any]:
    """NumPy's dtype for a name of KServe's; objects for BYTES."""
    name = DATATYPES[datatype]
    if name == "str":
        return np.dtype(object)
    if name == "bfloat16":
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name).newbyteorder("<")


def from_bytes(text: memoryview, datatype: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """A tensor out of its bytes; numbers are a view of them.

    Raises:
        InvalidRequestError: not as many as the shape says.
    """
    dtype, count = dtype_of(datatype), _count(shape)
    if datatype == "BYTES":
        return _texts(text, count, where).reshape(shape)
    if len(text) != count * dtype.itemsize:
        got, fix = f"{len(text)}", "look at the shape, and at binary_data_size"
        expected = f"{count * dtype.itemsize} bytes for {datatype}{list(shape)}"
        raise InvalidRequestError(expected, got=got, fix=fix, where=where)
    if datatype == "BOOL":
        return np.frombuffer(text, np.uint8).reshape(shape) != 0
    found = np.frombuffer(text, dtype).reshape(shape)
    return found.astype(dtype.newbyteorder("=")) if not dtype.isnative else found


def to_bytes(found: np.ndarray) -> bytes:
    """The bytes of a tensor.

    >>> to_bytes(np.array([1, 2], np.int16)), to_bytes(np.array(["ab"], object))
    (b'\\x01\\x00\\x02\\x00', b'\\x02\\x00\\x00\\x00ab')
    """
    if found.dtype.kind in "OSU":
        parts = [x if isinstance(x, bytes) else str(x).encode() for x in found.reshape(-1).tolist()]
        return b"".join(struct.pack("<I", len(part)) + part for part in parts)
    return np.ascontiguousarray(found.astype(found.dtype.newbyteorder("<"), copy=False)).tobytes()


def _texts(text: memoryview, count: int, where: str) -> np.ndarray:
    found, at = np.empty(count, object), 0
    for i in range(count):
        if at + 4 > len(text):
            break
        (length,) = struct.unpack_from("<I", text, at)
        if at + 4 + length > len(text):
            break
        found[i] = bytes(text[at + 4 : at + 4 + length])
        at += 4 + length
    else:
        if at == len(text):
            return found
    fix = "write before each its length, in four bytes"
    raise InvalidRequestError(f"{count} BYTES, each behind its length", got="other bytes", fix=fix, where=where)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count
