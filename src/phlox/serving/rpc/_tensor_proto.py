"""TensorFlow's TensorProto as arrays, and back."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from phlox.serving._errors import InvalidRequestError
from phlox.serving.rpc._messages import tensorflow

NUMBERS = {
    "float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "str": 7, "int64": 9, "bool": 10,
    "bfloat16": 14, "uint16": 17, "float16": 19, "uint32": 22, "uint64": 23, "key": 22,
}  # fmt: skip
"""TensorFlow's numbers of dtypes."""
_NAMES = {number: name for name, number in NUMBERS.items() if name != "key"}
_VALUES = {
    "float32": "float_val", "float64": "double_val", "str": "string_val", "int64": "int64_val", "bool": "bool_val",
    "uint32": "uint32_val", "uint64": "uint64_val", "float16": "half_val", "bfloat16": "half_val",
}  # fmt: skip
_MOST_AXES = 32


def read_tensor(tensor: Any, most: int, where: str) -> np.ndarray:
    """An array out of a TensorProto of at most so many elements; values that are left out are the last one again.

    Raises:
        InvalidRequestError: a dtype without a name here, or not as many values as the shape says.
    """
    name = _NAMES.get(tensor.dtype)
    shape = tuple(d.size for d in tensor.tensor_shape.dim)
    count = 1
    for n in shape:
        count *= max(n, 0)
    if name is None or tensor.tensor_shape.unknown_rank or min(shape, default=0) < 0 or len(shape) > _MOST_AXES:
        got, fix = f"dtype {tensor.dtype} {list(shape)}", "send numbers or text, and the shape"
        raise InvalidRequestError("a tensor of known dtype and shape", got=got, fix=fix, where=where)
    if count > most:
        got, fix = f"{list(shape)}", "send fewer rows at once"
        raise InvalidRequestError(f"a tensor of at most {most} elements", got=got, fix=fix, where=where)
    found = _content(tensor, name) if tensor.tensor_content else _values(tensor, name)
    if len(found) != count and not (0 < len(found) < count and not tensor.tensor_content):
        got, fix = f"{len(found)}", "send as many values as the shape says"
        raise InvalidRequestError(f"{count} values for {name}{list(shape)}", got=got, fix=fix, where=where)
    if len(found) < count:
        found = np.concatenate([found, np.full(count - len(found), found[-1], found.dtype)])
    return found.reshape(shape)


def write_tensor(found: np.ndarray) -> Any:
    """An array as a TensorProto.

    Raises:
        InvalidRequestError: TensorFlow's protocol has no such dtype here.
    """
    name = "str" if found.dtype.kind in "OSU" else found.dtype.name
    if name not in NUMBERS:
        fix = "ask for the other outputs"
        raise InvalidRequestError("outputs of numbers or text", got=found.dtype.name, fix=fix, where="TensorProto")
    made = tensorflow().TensorProto(dtype=NUMBERS[name])
    for n in found.shape:
        made.tensor_shape.dim.add(size=n)
    if name == "str":
        made.string_val.extend(x if isinstance(x, bytes) else str(x).encode() for x in found.reshape(-1))
    else:
        made.tensor_content = np.ascontiguousarray(found).tobytes()
    return made


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, name))


def _content(tensor: Any, name: str) -> np.ndarray:
    if name == "str":
        return np.array([], object)
    dtype, content = _dtype(name), tensor.tensor_content
    if len(content) % dtype.itemsize:
        return np.array([], dtype)
    return np.frombuffer(content, np.uint8) != 0 if name == "bool" else np.frombuffer(content, dtype)


def _values(tensor: Any, name: str) -> np.ndarray:
    values = getattr(tensor, _VALUES.get(name, "int_val"))
    if name == "str":
        made = np.empty(len(values), object)
        made[:] = list(values)
        return made
    if _VALUES.get(name) == "half_val":  # the bits of each, as whole numbers
        return np.array(values, np.int64).astype(np.uint16).view(_dtype(name))
    return np.array(values).astype(_dtype(name))
