"""``bundle.json`` out and in: signed, with length and checksum of every other file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phlox.weights._errors import CorruptFileError, MissingFileError, file_error, open_regular
from phlox.weights.bundle._bundle import FORMAT, MANIFEST
from phlox.weights.bundle._schema import fault


def sealed(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``bundle.json`` into a folder whose other files are complete, and flush all to the disk."""
    files = {name: [os.path.getsize(folder / name), sha256_of(folder / name, flush=True)] for name in files_in(folder)}
    whole = {**content, "files": files}
    text = json.dumps({**whole, "sha256": digest(whole)}, indent=1, allow_nan=False)
    with open(folder / MANIFEST, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def files_in(folder: Path) -> list[str]:
    """The files below a folder, without ``bundle.json`` and what a system leaves there under a dot."""
    names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())
    return sorted(n for n in names if n != MANIFEST and not any(part.startswith(".") for part in n.split("/")))


def sha256_of(path: Path, *, flush: bool = False) -> str:
    """The checksum of a file."""
    with open_regular(path) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if flush:
            os.fsync(file.fileno())
    return found


def digest(content: Mapping[str, Any]) -> str:
    """The checksum of what ``bundle.json`` says."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def manifest_of(folder: Path, where: str) -> dict[str, Any]:
    """What ``bundle.json`` says, signed and of the right form.

    Raises:
        MissingFileError: there is no such folder, or it is no bundle.
        CorruptFileError: it is damaged, or of a later version.
    """
    path = folder / MANIFEST
    if folder.is_dir() and not os.path.lexists(path):
        raise MissingFileError(
            f"a bundle, with a {MANIFEST}", got=f"{folder}, a folder without one",
            fix="give the folder that px.export wrote", where=where,
        )  # fmt: skip
    try:
        with open_regular(path) as file:
            text = file.read()
    except OSError as error:
        raise file_error(error, folder if not folder.is_dir() else path, where) from error
    try:
        content = json.loads(text)
        version, signature = content.get("format"), content.pop("sha256", None)
    except (ValueError, AttributeError, RecursionError) as error:
        raise damaged(f"{MANIFEST}, which is no JSON object", where) from error
    if type(version) is int and version > FORMAT:
        fix = "update Phlox, which this bundle is newer than"
        raise CorruptFileError(f"a bundle of format 1 to {FORMAT}", got=f"format {version}", fix=fix, where=where)
    if signature != digest(content):
        raise damaged(f"{MANIFEST}, which is not as it was written", where)
    if found := fault(content):
        raise damaged(f"{MANIFEST}, {found}", where)
    if version != FORMAT:
        raise damaged(f"{MANIFEST}, whose 'format' is {version}", where)
    return {**content, "sha256": signature}


def damaged(what: str, where: str) -> CorruptFileError:
    """The error of a bundle one of whose files is not as it was written."""
    return CorruptFileError(
        "every file of the bundle as it was written", got=what,
        fix="copy the bundle again, or export the model anew", where=where,
    )  # fmt: skip
