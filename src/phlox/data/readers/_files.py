"""Files of known content: read whole, checked, unpacked."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import os
import zlib
from typing import Any

from phlox.core import MissingExtraError, PhloxError, RangeError

FilePath = str | os.PathLike[str]
_HASHES = {32: "md5", 40: "sha1", 64: "sha256"}  # by the number of hexadecimal digits


def file_bytes(path: FilePath, checksum: str | None, where: str) -> bytes:
    """What a file holds, unpacked where it is gzipped.

    Arguments:
        checksum: the MD5, SHA-1 or SHA-256 of the file as it lies there, in hexadecimal digits.

    Raises:
        CorruptFileError: another checksum, or a gzip file that is cut off or damaged.
        FileError: it cannot be read, or is no file: a pipe would be waited for.
        RangeError: what is no checksum.
    """
    from phlox.weights import file_error, open_regular

    try:
        with open_regular(path) as file:
            found = file.read()
    except OSError as error:
        raise file_error(error, path, where) from error
    if checksum is not None:
        kind = _HASHES.get(len(checksum))
        if kind is None:
            fix = "give the MD5, SHA-1 or SHA-256 in hexadecimal digits"
            raise RangeError("a checksum of 32, 40 or 64 digits", got=repr(checksum), fix=fix, where=where)
        digest = hashlib.new(kind, found, usedforsecurity=False).hexdigest()
        if digest != checksum.lower():
            raise corrupt(f"{kind} {checksum.lower()}", digest, path, where)
    if found[:2] != b"\x1f\x8b":
        return found
    try:
        return gzip.decompress(found)
    except (EOFError, OSError, zlib.error) as error:
        raise corrupt("a whole gzip file", str(error), path, where) from None


def corrupt(expected: str, got: str, path: FilePath, where: str, fix: str | None = None) -> PhloxError:
    """The error of a file that is not what it should be."""
    from phlox.weights import CorruptFileError

    fix = fix or "fetch the file again: it is cut off, damaged, or another one"
    return CorruptFileError(f"{expected} in {os.fspath(path)!r}", got=got, fix=fix, where=where)


def extra(module: str, package: str, name: str, where: str) -> Any:
    """Import a module of an optional package.

    Raises:
        MissingExtraError: the package is not installed; it is part of the extra ``name``.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        fix = f'pip install "phlox[{name}]"'
        raise MissingExtraError(package, got=str(error), fix=fix, where=where) from error
