"""What every reader refuses: other content, sizes that a file cannot hold, packages that are not there."""

from __future__ import annotations

import importlib
import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import Any

import numpy as np

from phlox.core import MissingExtraError, PhloxError
from phlox.weights._errors import CorruptFileError, file_error, open_regular
from phlox.weights.readers._arrays import Spec

FilePath = str | os.PathLike[str]
_PACKED = 100  # how many times its length a file of real weights may unpack to, at most
_SMALL = 64 * 2**20  # what may be taken whatever a file's length
_AXES = 64  # of an array of NumPy, at most

DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError, ValueError, KeyError)
"""What damage in a zip archive or an HDF5 file may raise."""

FETCH = "fetch the file again: it is cut short, damaged, or another one"


def corrupt(expected: str, got: object, where: str, fix: str = FETCH) -> CorruptFileError:
    """The error of a file that does not hold what its format asks for."""
    return CorruptFileError(expected, got=str(got).strip()[:300], fix=fix, where=where)


@contextmanager
def damage(expected: str, where: str, *kinds: type[Exception], fix: str = FETCH) -> Iterator[None]:
    """Say of errors of these kinds, which come from reading what is damaged, what was expected; ours pass as they are.

    Raises:
        CorruptFileError: for any of them.
    """
    try:
        yield
    except PhloxError:
        raise
    except kinds as error:
        raise corrupt(expected, f"{type(error).__name__}: {error}", where, fix) from None


@contextmanager
def regular(path: FilePath, where: str) -> Iterator[BufferedReader]:
    """A regular file, open for reading.

    Raises:
        FileError: it cannot be opened or read, or is a folder, a device, a pipe or a socket.
    """
    try:
        with open_regular(path) as file:
            yield file
    except PhloxError:
        raise
    except OSError as error:
        raise file_error(error, path, where) from error


def checked_spec(shape: object, dtype: np.dtype[Any]) -> Spec:
    """What an array is whose shape a file claims: so many axes and sizes as NumPy can have.

    Raises:
        ValueError: its shape is none, or takes more bytes than a number of 64 bits counts.
    """
    if not isinstance(shape, (list, tuple)) or len(shape) > _AXES:
        raise ValueError(f"a shape of at most {_AXES} sizes is needed")
    if not all(is_size(n) for n in shape) or math.prod(n for n in shape if n) * dtype.itemsize >= 2**63:
        raise ValueError(f"an array of shape ({', '.join(_number(n) for n in shape)})")
    return Spec(tuple(shape), dtype)


def is_size(n: object) -> bool:
    """Whether a value of a file is a whole number that a size, or a place in a file, may be."""
    return type(n) is int and 0 <= n < 2**63


def _number(n: object) -> str:
    """A value that should be a size; the longest of numbers cannot be printed."""
    return f"{n}"[:20] if not isinstance(n, int) or abs(n) < 2**64 else "a number beyond 64 bits"


def check_sizes(total: int, stored: int, where: str) -> None:
    """Refuse arrays that would take far more memory than a file of ``stored`` bytes can fill; nothing is made yet.

    Raises:
        CorruptFileError: they would.
    """
    if total > max(_SMALL, _PACKED * stored):
        expected = f"arrays that a file of {stored} bytes can hold"
        raise corrupt(
            expected, f"{total} bytes of them", where, "do not use this file: it was made to fill your memory"
        )


def check_names(found: Iterable[str], listed: Iterable[str], file: str, where: str) -> None:
    """Refuse a file that holds other names than its index says.

    Raises:
        CorruptFileError: it does; the error tells which.
    """
    missing, more = sorted(set(listed) - set(found)), sorted(set(found) - set(listed))
    if missing:
        raise corrupt(f"{missing[0]!r} in {file}, as the index says", f"no such name ({len(missing)} missing)", where)
    if more:
        got = f"{more[0]!r} too, which the index puts elsewhere or nowhere ({len(more)} such names)"
        raise corrupt(f"only the names that the index gives for {file}", got, where)


def package(module: str, fix: str, where: str) -> Any:
    """Import a module of an optional package.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise MissingExtraError(f"{name} for this format", got=str(error), fix=fix, where=where) from error


def file_size(path: FilePath, where: str) -> int:
    """The length of a regular file."""
    with regular(path, where) as file:
        return os.fstat(file.fileno()).st_size


def parsed(text: bytes, what: str, where: str) -> dict[str, Any]:
    """A JSON object in which no name stands twice.

    Raises:
        CorruptFileError: it is none.
    """
    with damage(f"{what} in JSON", where, ValueError, RecursionError):
        found: Any = json.loads(text, object_pairs_hook=_distinct)
    if not isinstance(found, dict):
        raise corrupt(f"{what} as a JSON object", type(found).__name__, where)
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"the name {twice!r} stands there twice")
    return found
