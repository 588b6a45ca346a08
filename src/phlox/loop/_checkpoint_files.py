"""One checkpoint on the disk: arrays by Orbax, everything else as JSON, and a manifest with a checksum of each file.

    0007-step-350/
        arrays/          every array, written by Orbax in the background
        state.json       what is no array: counters, history, the loader's position, callbacks, names of the arrays
        manifest.json    SHA-256 and length of every file, and of itself; written last

The folder has another name, which begins with a dot, until the manifest is in it and all is flushed to the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import MissingExtraError, StructureError
from phlox.weights import CorruptFileError

FORMAT = 1
"""The version of the files; those of this and older versions load."""

ARRAYS, STATE, MANIFEST = "arrays", "state.json", "manifest.json"
_PACKAGES = ("phlox", "jax", "jaxlib", "numpy", "orbax-checkpoint", "grain")

State = dict[str, Any]  # what ``Run.state`` gives: {"arrays": nested dicts of arrays, "values": JSON-able}


def orbax() -> Any:
    """The package that writes arrays, or the extra that is missing.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import orbax.checkpoint  # slow to import, and an extra
    except ImportError:
        raise MissingExtraError(
            "orbax-checkpoint", got="none", fix='pip install "phlox[checkpoint]"', where="Checkpoint"
        ) from None
    return orbax.checkpoint


# --- out ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """A run as it was: arrays that nothing will overwrite, and the text of everything else."""

    arrays: dict[str, Any]  # for Orbax, by number
    text: str

    @classmethod
    def of(cls, state: State) -> Snapshot:
        """Take what ``run.state()`` gave.

        Raises:
            StructureError: a callback keeps something that JSON does not have.
        """
        arrays, entries = {}, []
        for path, value in _leaves(state["arrays"], ()):
            entry: dict[str, Any] = {"path": path}
            if value is None:
                pass  # a dict with nothing in it
            elif value.size:  # Orbax has no arrays without elements
                entry["number"] = str(len(arrays))
                arrays[entry["number"]] = _kept(value)
            else:
                entry["empty"] = [value.dtype.name, list(value.shape)]
            entries.append(entry)
        whole = {"arrays": entries, "values": state["values"]}
        try:
            text = json.dumps(whole, default=_plain)
        except (TypeError, ValueError) as error:
            raise StructureError(
                "state that is arrays and JSON",
                got=str(error),
                fix="let the callback's state() return numbers, text, lists, dicts by text, and arrays",
                where="Checkpoint",
            ) from error
        return cls(arrays, text)


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[list[str], Any]]:
    """Every array in nested dicts with the keys on the way to it; None stands for a dict with nothing in it."""
    if isinstance(value, dict):
        if not value and path:
            yield list(path), None
        for name, inner in value.items():
            yield from _leaves(inner, (*path, str(name)))
    elif isinstance(value, (jax.Array, np.ndarray, np.generic)):
        yield list(path), value
    else:
        raise StructureError(
            "arrays in dicts, by name",
            got=f"{type(value).__name__} at {' '.join(path)}",
            fix="let the callback's state() return each number and each array under a name of its own",
            where="Checkpoint",
        )


def _kept(value: Any) -> Any:
    """The array as it is now. On a CPU Orbax would read the very memory that the next step writes to."""
    on_cpu = isinstance(value, jax.Array) and all(device.platform == "cpu" for device in value.devices())
    if (on_cpu and value.is_fully_addressable) or not isinstance(value, jax.Array):
        return np.array(value)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} {str(value)[:60]!r}")


def versions() -> dict[str, str]:
    """The versions of what decides how a run goes on."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def sealed(folder: Path, about: dict[str, Any]) -> None:
    """Write the manifest of a folder whose other files are complete, and flush everything to the disk."""
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    files = {name: [os.path.getsize(folder / name), _sha256(folder / name, flush=True)] for name in names}
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


def _sha256(path: Path, *, flush: bool = False) -> str:
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if flush:
            os.fsync(file.fileno())
    return found


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# --- in -------------------------------------------------------------------------------------------


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
    """
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        signature = content.pop("sha256")
        whole = signature == _digest(content)
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise damaged(folder, f"{MANIFEST}, which cannot be read ({type(error).__name__})") from error
    if not whole:
        raise damaged(folder, f"{MANIFEST}, which is not as it was written")
    if content["format"] > FORMAT:
        raise CorruptFileError(
            f"a checkpoint of format 1 to {FORMAT}",
            got=f"format {content['format']}",
            fix="update Phlox, which this checkpoint is newer than",
            where=str(folder),
        )
    return content


def check_files(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint whose every file is as it was written.

    Raises:
        CorruptFileError: one is not; the error names it.
    """
    manifest = manifest_of(folder)
    for name, (size, digest) in manifest["files"].items():
        path = folder / name
        try:
            if not path.is_file():
                raise damaged(folder, f"{name}, which is missing")
            if path.stat().st_size != size:
                raise damaged(folder, f"{name}, which has {path.stat().st_size} bytes of {size}")
            if _sha256(path) != digest:
                raise damaged(folder, f"{name}, whose content is not what was written")
        except OSError as error:
            if isinstance(error, CorruptFileError):
                raise
            raise damaged(folder, f"{name}, which cannot be read ({error.strerror})") from error
    return manifest


def damaged(folder: Path, what: str) -> CorruptFileError:
    """The error of a checkpoint one of whose parts is not as it was written."""
    return CorruptFileError(
        "every file as it was written", got=what, fix="take another checkpoint; this one is left as it is",
        where=f"checkpoint {folder}",
    )  # fmt: skip


def read_state(folder: Path, parts: tuple[str, ...] | None = None) -> State:
    """The state in a checkpoint, arrays as NumPy's; only some ``parts`` of it where they are named.

    Raises:
        CorruptFileError: a file is missing or not as it was written.
    """
    check_files(folder)
    whole = json.loads((folder / STATE).read_text(encoding="utf-8"))
    entries = [entry for entry in whole["arrays"] if parts is None or entry["path"][0] in parts]
    numbered = _read_arrays(folder / ARRAYS, [e["number"] for e in entries if "number" in e])
    arrays: dict[str, Any] = {}
    for entry in entries:
        at = arrays
        for name in entry["path"][:-1]:
            at = at.setdefault(name, {})
        at[entry["path"][-1]] = _found(entry, numbered)
    return {"arrays": arrays, "values": whole["values"]}


def _found(entry: dict[str, Any], numbered: dict[str, Any]) -> Any:
    """What stands at an entry's path."""
    if "number" in entry:
        return numbered[entry["number"]]
    if "empty" in entry:
        name, shape = entry["empty"]
        return np.zeros(shape, jnp.dtype(name))
    return {}


def _read_arrays(folder: Path, numbers: list[str]) -> dict[str, Any]:
    """Arrays by their numbers, each whole on the host, whatever devices it was on."""
    if not numbers:
        return {}
    ocp = orbax()
    checkpointer = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    try:
        return checkpointer.restore(
            folder.absolute(),
            args=ocp.args.PyTreeRestore(
                item=dict.fromkeys(numbers, 0),
                restore_args=dict.fromkeys(numbers, ocp.RestoreArgs(restore_type=np.ndarray)),
                partial_restore=True,
            ),
        )
    finally:
        checkpointer.close()
