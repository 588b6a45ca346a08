"""IDX files, the format of MNIST and its kin."""

from __future__ import annotations

import math
import struct

import numpy as np

from phlox.data.readers._files import FilePath, corrupt, file_bytes

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: FilePath, *, checksum: str | None = None) -> np.ndarray:
    """The array of an IDX file, gzipped or not: MNIST's images (n, 28, 28) or labels (n,).

    Arguments:
        path: the file.
        checksum: its MD5, SHA-1 or SHA-256 in hexadecimal digits, checked where it is given.

    Raises:
        CorruptFileError: a wrong checksum, another format, or too few or too many bytes.

    >>> import struct, tempfile, pathlib, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(struct.pack(">BBBBI3B", 0, 0, 8, 1, 3, 5, 0, 4))
    ...     px.data.read_idx(path)
    array([5, 0, 4], dtype=uint8)

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits.
    """
    where, found = "read_idx", file_bytes(path, checksum, "read_idx")
    if len(found) < 4 or found[:2] != b"\0\0" or found[2] not in _DTYPES:
        raise corrupt("the start of an IDX file (0, 0, dtype, axes)", f"{list(found[:4])}", path, where)
    start = 4 + 4 * found[3]
    if len(found) < start:
        raise corrupt(f"{found[3]} sizes of axes", f"{len(found)} bytes", path, where)
    shape = struct.unpack(f">{found[3]}I", found[4:start])
    dtype = np.dtype(_DTYPES[found[2]])
    needed = start + math.prod(shape) * dtype.itemsize
    if len(found) != needed:
        raise corrupt(f"{needed} bytes for {list(shape)}", str(len(found)), path, where)
    return np.frombuffer(found, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
