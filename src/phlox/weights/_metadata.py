"""The text beside the arrays: Phlox's own entries, the user's, and the checksum over everything."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from phlox.core import RangeError
from phlox.weights._errors import CorruptFileError, file_error, open_regular

FORMAT = 1
"""The version of Phlox's entries; files of this and older versions load."""

_OWN = "phlox."
DIGEST = "phlox.sha256"
UNKNOWN = 64 * "0"  # a checksum that is to come

# What the format calls a dtype, and what JAX does.
DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
    "C64": np.complex64,
    "F8_E4M3": jnp.float8_e4m3fn,
    "F8_E5M2": jnp.float8_e5m2,
}


def own_metadata(
    user: Mapping[str, str] | None, keys: Mapping[str, str], where: str, own: Mapping[str, str]
) -> dict[str, str]:
    """The user's text with Phlox's entries, and room for the checksum."""
    user = dict(user or {})
    for name, value in user.items():
        if not isinstance(name, str) or not isinstance(value, str) or name.startswith(_OWN):
            raise RangeError(
                f"metadata from str to str, with names that do not start with {_OWN!r}",
                got=f"{name!r}: {value!r}",
                fix="turn values into text, for example with json.dumps",
                where=where,
            )
    ours = {"phlox.format": str(FORMAT), "phlox.keys": json.dumps(dict(sorted(keys.items())))}
    return {**user, **ours, **own, DIGEST: UNKNOWN}


class Digest:
    """SHA-256 over the metadata and, in the order of their names, every array's name, dtype, shape and bytes."""

    def __init__(self, metadata: Mapping[str, str]):
        text = json.dumps({k: v for k, v in sorted(metadata.items()) if k != DIGEST})
        self._total = hashlib.sha256(text.encode())

    def add(self, name: str, array: np.ndarray) -> None:
        """Take in the next array."""
        self._total.update(json.dumps([name, array.dtype.name, list(array.shape)]).encode())
        self._total.update(array.reshape(-1).view(np.uint8).data)

    def text(self) -> str:
        """The checksum of what was taken in."""
        return self._total.hexdigest()


def digest(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """The checksum of arrays that are all there."""
    total = Digest(metadata)
    for name in sorted(arrays):
        total.add(name, arrays[name])
    return total.text()


def check_digest(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str], where: str) -> None:
    """Refuse content that is not what Phlox wrote. Files of other programs carry no checksum and pass."""
    if any(k.startswith(_OWN) for k in metadata) and metadata.get(DIGEST) != digest(arrays, metadata):
        raise CorruptFileError(
            "the content that its checksum was made of",
            got="other content",
            fix="the file was damaged on the disk or on its way: copy it again, or load an older one",
            where=where,
        )


def check_format(metadata: Mapping[str, str], where: str) -> None:
    """Refuse files of a later version of the format."""
    version = metadata.get("phlox.format", "1")
    if not version.isdecimal() or not 1 <= int(version) <= FORMAT:
        raise CorruptFileError(
            f"a file of format 1 to {FORMAT}",
            got=f"format {version!r}",
            fix="update Phlox, which this file is newer than; if it is not, the file is damaged",
            where=where,
        )


def key_kinds(metadata: Mapping[str, str]) -> dict[str, str]:
    """Which arrays are random keys, and of which implementation."""
    return json.loads(metadata.get("phlox.keys", "{}"))


def opened(path: str | os.PathLike[str], where: str) -> Any:
    """A safetensors file whose header was checked against its length, open for reading."""
    try:
        with open_regular(path):  # the system's own word on what is missing, a folder, or not allowed
            pass
    except OSError as error:
        raise file_error(error, path, where) from error
    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise not_safetensors(error, where) from error


def not_safetensors(error: Exception, where: str) -> CorruptFileError:
    """A file that does not hold what the format asks for."""
    return CorruptFileError(
        "a whole safetensors file",
        got=str(error),
        fix="it was cut short, damaged, or is of another kind: copy it again, or load an older one",
        where=where,
    )


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The text stored beside the arrays of a safetensors file, Phlox's own entries included.

    Arguments:
        path: the file; its arrays are not read, so damage in them goes unseen.

    Raises:
        FileError: the file cannot be read.
        CorruptFileError: it is no whole safetensors file.

    >>> import tempfile, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     px.weights.save_safetensors(px.Dense(2, 3), folder + "/a.safetensors", {"trained on": "digits"})
    ...     px.weights.read_metadata(folder + "/a.safetensors")["trained on"]
    'digits'
    """
    with opened(path, f"read_metadata({os.fspath(path)!r})") as file:
        return dict(file.metadata() or {})
