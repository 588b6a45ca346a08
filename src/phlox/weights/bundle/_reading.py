"""A bundle whose every file is as it was written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from phlox.weights._errors import FileError
from phlox.weights.bundle._bundle import Bundle
from phlox.weights.bundle._manifest import damaged, files_in, manifest_of, sha256_of


def read_bundle(folder: str | os.PathLike[str], *, where: str | None = None) -> Bundle:
    """Read what a bundle says of itself, and verify every file in it.

    Arguments:
        folder: the bundle.
        where: the function that speaks in errors.

    Raises:
        MissingFileError: there is no such bundle.
        CorruptFileError: a file is missing, was changed, or is none of the bundle's; or the bundle is of a later Phlox.

    >>> import tempfile, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     px.weights.read_bundle(folder + "/nothing")
    Traceback (most recent call last):
    phlox.weights._errors.MissingFileError: read_bundle('...nothing') expects ...nothing to exist, ...
    """
    where = where or f"read_bundle({os.fspath(folder)!r})"
    path = Path(folder)
    content = manifest_of(path, where)
    _check_files(path, content["files"], where)
    return Bundle.of(path, content)


def _check_files(folder: Path, files: dict[str, Any], where: str) -> None:
    """Refuse a file that is missing, changed, outside of the bundle, or not the bundle's."""
    for name in files:
        if os.path.isabs(name) or "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
            raise damaged(f"bundle.json, which names {name[:200]!r}, outside of the bundle", where)
    for name in files_in(folder):
        if name not in files:
            raise damaged(f"{name}, which bundle.json does not know", where)
    for name, (size, checksum) in files.items():
        try:
            if (found := (folder / name).stat().st_size) != size:
                raise damaged(f"{name}, which has {found} bytes of {size}", where)
            if sha256_of(folder / name) != checksum:
                raise damaged(f"{name}, whose content is not what was written", where)
        except FileError:
            raise
        except OSError as error:
            raise damaged(f"{name}, which cannot be read ({error.strerror})", where) from error
