"""Weights in several files: an index beside them says which name stands in which."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from phlox.weights._errors import file_error
from phlox.weights.readers._arrays import Arrays
from phlox.weights.readers._pytorch import pytorch_shard
from phlox.weights.readers._refusing import FilePath, check_names, corrupt, parsed, regular
from phlox.weights.readers._safetensors import safetensors_part

_MOST = 64 * 2**20  # bytes of an index


def read_index(path: FilePath, where: str) -> Arrays:
    """The arrays of the files that an index names; safetensors are all checked, the others opened at first use."""
    folder, shards = Path(path).parent, _shards(path, where)
    for file in shards:
        check_inside(folder, file, where)
    if os.fspath(path).endswith(".safetensors.index.json"):
        return _safetensors(path, shards, where)
    parts = [pytorch_shard(folder / file, names, f"{where}: {file}") for file, names in shards.items()]
    return Arrays(path, "pytorch", parts)


def check_inside(folder: Path, file: str, where: str) -> Path:
    """The path of a file in a folder.

    Raises:
        CorruptFileError: it is no plain name, or a link out of the folder which is not one of the hub's cache.
        MissingFileError: there is no such file.
    """
    if not file or file in (".", "..") or any(sign in file for sign in "/\\:\0"):
        raise corrupt(
            "names of files beside the index", repr(file), where, "do not use this index: it reaches elsewhere"
        )
    try:
        found = (folder / file).resolve(strict=True)
    except OSError as error:
        raise file_error(error, folder / file, where) from error
    home = folder.resolve()
    cached = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    if found.parent not in (home, cached):
        fix = "put the file itself into the folder, if you trust it"
        raise corrupt(f"{file} to lie in {os.fspath(folder)!r}", f"a link to {os.fspath(found)!r}", where, fix)
    return folder / file


def _shards(path: FilePath, where: str) -> dict[str, list[str]]:
    """The names that each file shall hold, in the order of the index."""
    with regular(path, where) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MOST:
            raise corrupt(f"an index of at most {_MOST} bytes", f"one of {size}", where)
        text = file.read(size)
    placed = parsed(text, "an index", where).get("weight_map")
    if not isinstance(placed, dict) or not placed or not all(isinstance(file, str) for file in placed.values()):
        raise corrupt('"weight_map", from names to files', repr(placed), where)
    shards: dict[str, list[str]] = {}
    for name, file in placed.items():
        shards.setdefault(file, []).append(name)
    return shards


def _safetensors(path: FilePath, shards: Mapping[str, list[str]], where: str) -> Arrays:
    parts, metadata = [], {}
    for file, names in shards.items():
        part, text = safetensors_part(Path(path).parent / file, f"{where}: {file}")
        check_names(part.names, names, file, where)
        parts.append(part)
        metadata |= text
    return Arrays(path, "safetensors", parts, metadata)
