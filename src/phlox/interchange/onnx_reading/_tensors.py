"""Arrays of a file, and of files beside it; none is made before its size is known to be true."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

_FIELDS = {"FLOAT": "float_data", "DOUBLE": "double_data", "INT64": "int64_data", "UINT64": "uint64_data"}


def _memory() -> int:
    """Half of what the machine has, where the system tells: each array is there twice for a moment."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, OSError, ValueError):
        return 1 << 40


class Tensors:
    """Reads the tensors of one file; those in files beside it up to what memory holds."""

    def __init__(self, onnx: Any, folder: Path | None, refuse: Callable[[str, str, str], Exception]):
        self.onnx, self.folder, self.refuse, self.room = onnx, folder, refuse, _memory()

    def reserve(self, protos: Iterable[Any]) -> None:
        """Refuse arrays in files beside this one that memory does not hold together, before any is read."""
        beside = [p for p in protos if p.data_location == self.onnx.TensorProto.EXTERNAL]
        self.room -= sum(self._bytes(p) for p in beside if all(n >= 0 for n in p.dims))
        if self.room < 0:
            got = f"{-self.room} bytes more, up to {beside[-1].name!r}"
            raise self.refuse("arrays that memory holds together", got, "trust no file that says one part many times")

    def dtype(self, element: int) -> np.dtype | None:
        """The dtype of ONNX's number, or None for strings and what is unknown."""
        if element in (self.onnx.TensorProto.UNDEFINED, self.onnx.TensorProto.STRING):
            return None
        try:
            return np.dtype(self.onnx.helper.tensor_dtype_to_np_dtype(element))
        except (KeyError, ValueError) as error:
            fix = "a newer onnx package may know it"
            raise self.refuse("dtypes that the onnx package knows", f"number {element}", fix) from error

    def read(self, proto: Any) -> np.ndarray:
        """One tensor as an array."""
        dtype = self.dtype(proto.data_type)
        if dtype is None:
            return np.array([s.decode(errors="replace") for s in proto.string_data], object).reshape(tuple(proto.dims))
        if any(n < 0 for n in proto.dims):
            raise self._wrong(proto, "a negative size")
        if proto.data_location == self.onnx.TensorProto.EXTERNAL:
            return self._beside(proto, dtype)
        self._check(proto)
        try:
            return np.asarray(self.onnx.numpy_helper.to_array(proto))
        except (ValueError, TypeError) as error:
            raise self._wrong(proto, str(error)[:100]) from error

    def _bytes(self, proto: Any) -> int:
        """How many bytes its sizes ask for."""
        return (math.prod(proto.dims) * self._bits(proto.data_type) + 7) // 8

    def _bits(self, element: int) -> int:
        name = self.onnx.TensorProto.DataType.Name(element)
        if name.endswith("INT4") or name.startswith("FLOAT4"):
            return 4
        if name.endswith("INT2"):
            return 2
        dtype = self.dtype(element)
        return 8 * (dtype.itemsize if dtype is not None else 1)

    def _check(self, proto: Any) -> None:
        if proto.HasField("raw_data"):
            if len(proto.raw_data) != self._bytes(proto):
                raise self._wrong(proto, f"{len(proto.raw_data)} bytes for {self._bytes(proto)}")
            return
        name = self.onnx.TensorProto.DataType.Name(proto.data_type)
        given = len(getattr(proto, _FIELDS.get(name, "int32_data")))
        if name.startswith("COMPLEX"):
            return
        packed = max(1, 8 // self._bits(proto.data_type)) if self._bits(proto.data_type) < 8 else 1
        if name == "UINT32":
            given = len(proto.uint64_data)
        if given != -(-math.prod(proto.dims) // packed):
            raise self._wrong(proto, f"{given} numbers for sizes {list(proto.dims)}")

    def _beside(self, proto: Any, dtype: np.dtype) -> np.ndarray:
        """An array in a file of its own, read as far as it is the tensor's."""
        told = {entry.key: entry.value for entry in proto.external_data}
        path = self._path(told.get("location", ""), proto)
        try:
            offset, length = (int(told[k]) if k in told else None for k in ("offset", "length"))
        except ValueError as error:
            raise self._wrong(proto, str(error)) from error
        start, size = offset or 0, self._bytes(proto)
        if (length is not None and length != size) or start < 0 or start + size > path.stat().st_size:
            got = f"{length if length is not None else size} bytes at {start} of {path.stat().st_size}, not {size}"
            raise self._wrong(proto, got)
        if self._bits(proto.data_type) >= 8:
            flat = np.fromfile(path, dtype.newbyteorder("<"), math.prod(proto.dims), offset=start)
            return flat.astype(dtype, copy=False).reshape(tuple(proto.dims))
        with path.open("rb") as file:
            file.seek(start)
            raw = file.read(size)
        made = self.onnx.TensorProto(name=proto.name, data_type=proto.data_type, dims=proto.dims, raw_data=raw)
        return np.asarray(self.onnx.numpy_helper.to_array(made))

    def _path(self, location: str, proto: Any) -> Path:
        """The file beside; no way leads out of the folder, by links neither."""
        if self.folder is None:
            fix = "load the file by its path"
            raise self.refuse("arrays inside the model", f"{proto.name!r} in a file beside it", fix)
        folder = self.folder.resolve()
        try:
            path = (folder / location).resolve()
            there = path.is_file()
        except (OSError, ValueError, RuntimeError):  # a name that no file has; links in a circle
            path, there = folder, False
        if not location or Path(location).is_absolute() or folder not in path.parents:
            got, fix = f"{location[:200]!r}", "trust no file that asks for it"
            raise self.refuse("arrays in files of the model's folder", got, fix)
        if not there:
            location, fix = location[:200], "copy it beside the model"
            raise self.refuse(f"the file {location} beside the model", "no such file", fix)
        return path

    def _wrong(self, proto: Any, got: str) -> Exception:
        return self.refuse(f"{proto.name!r} to be as long as its sizes say", got, "copy or write the file anew")
