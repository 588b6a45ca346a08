"""Which files are shards: one, several, patterns; those of one process."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from phlox.core import RangeError
from phlox.data.readers._files import FilePath

Shards = FilePath | Sequence[FilePath]
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


def shard_paths(paths: Shards, shard: tuple[int, int] | None, where: str) -> tuple[Path, ...]:
    """The files that are meant, in order; with ``shard`` (index, count) every count-th, from the index on.

    A name may be a pattern: ``*``, ``?`` and ``[…]`` stand for what is there, in the order of the names, and
    ``{000..127}`` counts.

    Raises:
        MissingFileError: no file. RangeError: a shard out of range, or more processes than files.
    """
    asked = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    found = [Path(each) for path in asked for counted in _counted(os.fspath(path)) for each in _there(counted)]
    if not found:
        raise _missing(", ".join(repr(os.fspath(path)) for path in asked[:3]) or "an empty list", where)
    gone = next((path for path in found if not path.exists()), None)
    if gone is not None:
        raise _missing(repr(str(gone)), where)
    return tuple(found if shard is None else found[_checked(shard, len(found), where) :: shard[1]])


def _counted(path: str) -> list[str]:
    """The names that ``{000..127}`` stands for, each number as wide as the first."""
    found = _BRACES.search(path)
    if found is None:
        return [path]
    first, last = int(found[1]), int(found[2])
    names = (path[: found.start()] + str(i).zfill(len(found[1])) + path[found.end() :] for i in range(first, last + 1))
    return [each for name in names for each in _counted(name)]


def _there(path: str) -> list[str]:
    """What a pattern stands for; a name that is there as it stands is none."""
    return sorted(glob.glob(path)) if glob.has_magic(path) and not os.path.exists(path) else [path]


def _missing(got: str, where: str) -> Exception:
    from phlox.weights import MissingFileError

    return MissingFileError("shards that exist", got=f"nothing at {got}", fix="check the name or pattern", where=where)


def _checked(shard: tuple[int, int], files: int, where: str) -> int:
    index, count = shard
    if not 0 <= index < count:
        fix = "count from 0: jax.process_index(), jax.process_count()"
        raise RangeError("shard (index, count) with index in 0 … count - 1", got=repr(shard), fix=fix, where=where)
    if count > files:
        fix = "write more shards, or leave shard= out: a loader gives each process its rows of every batch"
        raise RangeError(f"at least {count} files for {count} processes", got=str(files), fix=fix, where=where)
    return index
