"""CIFAR-10 and CIFAR-100, the binary and the Python version."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from phlox.core import RangeError
from phlox.data.readers._files import FilePath, corrupt, file_bytes

_PIXELS = 3 * 32 * 32


def read_cifar(
    path: FilePath, *, classes: int = 10, coarse: bool = False, checksum: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one file of CIFAR-10 or CIFAR-100, of the binary or the Python version.

    A file of the Python version is a pickle; it is read by an unpickler that makes arrays, numbers, text, lists and
    dicts, and refuses everything else, so that nothing in it is run.

    Shapes:
        images: (n, 32, 32, 3) uint8, channels last; labels: (n,) int32.

    Arguments:
        path: the file, such as ``data_batch_1.bin`` or ``data_batch_1``.
        classes: 10 or 100.
        coarse: of CIFAR-100, the 20 groups of classes.
        checksum: MD5, SHA-1 or SHA-256 of the file in hexadecimal digits, checked where it is given.

    Raises:
        CorruptFileError: a wrong checksum, another format, a file that is cut off, or a pickle of other things.
        RangeError: neither 10 nor 100 classes; coarse labels of CIFAR-10.

    >>> import tempfile, pathlib, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "data_batch_1.bin")
    ...     _ = path.write_bytes(bytes([7]) + bytes(1024) + bytes([9]) * 2048)
    ...     images, labels = px.data.read_cifar(path)
    >>> images.shape, labels.tolist(), images[0, 0, 0].tolist()
    ((1, 32, 32, 3), [7], [0, 9, 9])

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    where = "read_cifar"
    if classes not in (10, 100) or (coarse and classes == 10):
        got, fix = f"classes={classes}, coarse={coarse}", "coarse labels are those of classes=100"
        raise RangeError("classes of 10 or 100", got=got, fix=fix, where=where)
    found = file_bytes(path, checksum, where)
    read = _from_pickle if found[:1] == b"\x80" else _from_records
    pixels, labels = read(found, classes, coarse, path)
    most = 20 if coarse else classes
    if labels.size and (labels.min() < 0 or labels.max() >= most):
        raise corrupt(f"labels in 0 … {most - 1}", f"{labels.min()} … {labels.max()}", path, where)
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels.astype(np.int32)


def _from_records(found: bytes, classes: int, coarse: bool, path: FilePath) -> tuple[np.ndarray, np.ndarray]:
    """A record is a label, or a coarse and a fine one, and the pixels, channel by channel."""
    heads = 1 if classes == 10 else 2
    if not found or len(found) % (heads + _PIXELS):
        raise corrupt(f"records of {heads + _PIXELS} bytes", f"{len(found)} bytes", path, "read_cifar")
    records = np.frombuffer(found, np.uint8).reshape(-1, heads + _PIXELS)
    return records[:, heads:], records[:, 0 if coarse else heads - 1]


def _from_pickle(found: bytes, classes: int, coarse: bool, path: FilePath) -> tuple[np.ndarray, np.ndarray]:
    where, name = "read_cifar", b"labels" if classes == 10 else b"coarse_labels" if coarse else b"fine_labels"
    try:
        content = _ArraysOnly(io.BytesIO(found), encoding="bytes").load()
    except Exception as error:  # whatever damaged bytes lead an unpickler to
        raise corrupt("a pickle of arrays, text and numbers", f"{type(error).__name__}: {error}", path, where) from None
    parts: dict[Any, Any] = content if isinstance(content, dict) else {}
    parts = {key.encode() if isinstance(key, str) else key: part for key, part in parts.items()}
    pixels, labels = parts.get(b"data"), parts.get(name)
    if not isinstance(pixels, np.ndarray) or not isinstance(labels, (list, np.ndarray)):
        raise corrupt(f"'data' and {name.decode()!r}", f"{sorted(map(str, parts))}", path, where)
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), _PIXELS):
        got = f"{pixels.dtype}{list(pixels.shape)}"
        raise corrupt(f"data of uint8[{len(labels)}, {_PIXELS}]", got, path, where)
    try:
        return pixels, np.asarray(labels, np.int64)
    except (TypeError, ValueError):
        raise corrupt("labels as whole numbers", "others", path, where) from None


_MAKE_ARRAY = np.empty(0).__reduce__()[0]
_ALLOWED = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype} | {
    (f"numpy.{core}.multiarray", "_reconstruct"): _MAKE_ARRAY for core in ("core", "_core")
}


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows how an array is made and nothing else."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) == ("_codecs", "encode"):  # bytes that Python 3 wrote for Python 2
            return _encoded
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is not allowed") from None


def _encoded(text: str, encoding: str) -> bytes:
    return text.encode("latin1" if encoding == "latin1" else "ascii")
