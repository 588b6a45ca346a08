"""The manifest of a checkpoint: what it says, and whether every file is as it was written.

A reader may stand beside a training that deletes what is no longer wanted. There a checkpoint loses its name before its
files go; so whoever finds the manifest in its place after reading has read the whole of it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from phlox.weights import CorruptFileError, FileError, MissingFileError, open_regular

FORMAT = 2
"""The version of the files; those of this and older versions load. In 1 an optimiser's small arrays shared vectors."""

ARRAYS, STATE, MANIFEST = "arrays", "state.json", "manifest.json"
_PACKAGES = ("phlox", "jax", "jaxlib", "numpy", "orbax-checkpoint", "grain")
_WHOLE = "every file as it was written"
_TYPES: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "step": (int,),
    "epoch": (int,),
    "score": (int, float, type(None)),
    "monitor": (str, type(None)),
    "mode": (str, type(None)),
    "files": (dict,),
}


def versions() -> dict[str, str]:
    """The versions of what decides how a run goes on."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def sealed(folder: Path, about: dict[str, Any], told: Mapping[str, list[Any]] | None = None) -> None:
    """Write the manifest of a folder whose other files are complete, and flush everything to the disk.

    Arguments:
        told: length and checksum of files that other processes have written and flushed, here or elsewhere.
    """
    told = told or {}
    names = sorted({p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} | set(told))
    files = {name: told.get(name) or entry_of(folder / name) for name in names}
    content = {"format": FORMAT, "versions": versions(), **about, "files": files}
    text = json.dumps({**content, "sha256": _digest(content)}, indent=1)
    with open(folder / MANIFEST, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    for inner in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        flush_folder(inner)


def flush_folder(folder: Path) -> None:
    """Force the names in a folder to the disk, where the system lets folders be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def entry_of(path: Path) -> list[Any]:
    """Length and checksum of a file, which is flushed to the disk."""
    return [os.path.getsize(path), _sha256(path, flush=True)]


def _sha256(path: Path, *, flush: bool = False) -> str:
    with open_regular(path) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if flush:
            os.fsync(file.fileno())
    return found


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Saved:
    """A checkpoint: where it is, and what its manifest says."""

    path: Path
    manifest: dict[str, Any] = field(repr=False)

    @property
    def step(self) -> int:
        """Optimiser steps that were done."""
        return self.manifest["step"]

    @property
    def epoch(self) -> int:
        """The epoch from 0."""
        return self.manifest["epoch"]

    @property
    def score(self) -> float | None:
        """The watched number of the epoch that had just ended; None inside an epoch."""
        return self.manifest["score"]


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        CorruptFileError: it is missing, damaged, or of a later version.
        MissingFileError: there is no such checkpoint, or none any more.
    """
    try:
        with open_regular(folder / MANIFEST) as file:
            content = json.loads(file.read().decode())
        signature = content.pop("sha256")
        whole = signature == _digest(content)
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise lost(folder, f"{MANIFEST}, which {_in_words(error)}") from error
    if not whole:
        raise damaged(folder, f"{MANIFEST}, which is not as it was written")
    if type(content.get("format")) is int and content["format"] > FORMAT:
        raise CorruptFileError(
            f"a checkpoint of format 1 to {FORMAT}",
            got=f"format {content['format']}",
            fix="update Phlox, which this checkpoint is newer than",
            where=str(folder),
        )
    _check_content(folder, content)
    return content


def _check_content(folder: Path, content: dict[str, Any]) -> None:
    """Refuse what a checksum does not: a manifest that somebody wrote anew."""
    for name, kinds in _TYPES.items():
        value = content.get(name)
        bad = type(value) not in kinds
        if not bad and isinstance(value, (int, float)):
            bad = not math.isfinite(value) or (name != "score" and value < 0)
        if bad or (name == "mode" and value not in ("min", "max", None)):
            raise damaged(folder, f"{MANIFEST}, whose {name!r} is {repr(value)[:60]}")
    for name, entry in content["files"].items():
        parts = name.split("/")
        if (
            os.path.splitdrive(name)[0]
            or "\\" in name
            or "\0" in name
            or any(part in ("", ".", "..") for part in parts)
        ):
            raise damaged(folder, f"{MANIFEST}, which names {name[:200]!r}, outside of the checkpoint")
        told = isinstance(entry, list) and [type(part) for part in entry] == [int, str]
        if not told or entry[0] < 0:
            raise damaged(
                folder, f"{MANIFEST}, which says {repr(entry)[:60]} of {name[:200]!r}, not length and checksum"
            )
    if STATE not in content["files"]:
        raise damaged(folder, f"{MANIFEST}, which knows no {STATE}")


def check_files(folder: Path, process: int = 0, processes: int = 1) -> dict[str, Any]:
    """The manifest of a checkpoint whose every file is as it was written.

    Arguments:
        process, processes: of several that look each at a part of the files, which this is.

    Raises:
        CorruptFileError: one is not; the error names it.
        MissingFileError: there is no such checkpoint, or none any more.
    """
    manifest = manifest_of(folder)
    _check_kinds(folder)
    for name, (size, digest) in list(manifest["files"].items())[process::processes]:
        path = folder / name
        try:
            found = path.stat().st_size
            if found != size:
                raise lost(folder, f"{name}, which has {found} bytes of {size}")
            if _sha256(path) != digest:
                raise lost(folder, f"{name}, whose content is not what was written")
        except FileError:
            raise
        except OSError as error:
            raise lost(folder, f"{name}, which {_in_words(error)}") from error
    return manifest


def _check_kinds(folder: Path) -> None:
    """Refuse what is neither a file nor a folder, before anything is opened, and links that lead elsewhere."""
    root = os.path.realpath(folder)
    for at, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = os.path.join(at, name)
            inside = os.path.relpath(path, root)
            if os.path.islink(path) and not os.path.realpath(path).startswith(root + os.sep):
                raise lost(folder, f"{inside}, a link that leads out of the checkpoint")
            try:
                mode = os.stat(path).st_mode  # once: the checkpoint may be deleted at any moment
            except OSError:
                continue  # who reads it is to say so
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise damaged(folder, f"{inside}, which is a device, a pipe or a socket")


def _in_words(error: Exception) -> str:
    """What an error says of a file."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return "is missing"
    words = error.strerror if isinstance(error, OSError) else None
    return f"cannot be read ({words or type(error).__name__})"


def check_still_there(folder: Path, manifest: dict[str, Any]) -> None:
    """Refuse what was read of a checkpoint that was deleted meanwhile: a part of it may have been missing.

    Raises:
        MissingFileError: it was.
    """
    if manifest_of(folder) != manifest:
        raise _gone(folder)


def lost(folder: Path, what: str) -> FileError:
    """The error of a checkpoint one of whose parts cannot be had: it is damaged, or gone as a whole."""
    return damaged(folder, what) if os.path.lexists(folder) else _gone(folder)


def _gone(folder: Path) -> MissingFileError:
    return MissingFileError(
        "to be there while it is read", got="none: it was deleted meanwhile, or never was",
        fix='take another: a training that goes on keeps its newest and its best', where=f"checkpoint {folder}",
    )  # fmt: skip


def damaged(folder: Path, what: str) -> CorruptFileError:
    """The error of a checkpoint one of whose parts is not as it was written."""
    return CorruptFileError(
        _WHOLE, got=what, fix="take another checkpoint; this one is left as it is", where=f"checkpoint {folder}"
    )


def is_damage(error: FileError) -> bool:
    """Whether an error tells of damage, and not of a later version."""
    return error.expected == _WHOLE
