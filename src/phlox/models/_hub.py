"""Folders by name: on this machine, or on the hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from phlox.core import MissingExtraError
from phlox.weights import FileError, MissingFileError

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]


def folder_of(source: str | os.PathLike[str], revision: str | None) -> Path:
    """The folder that a user means: one on this machine, else one of the hub's, fetched into its cache.

    Raises:
        FileError: there is no such folder, and no such repository either, or none that can be reached.
        MissingExtraError: the name of a repository without the extra ``hub``.
    """
    where = f"px.models.load({os.fspath(source)!r})"
    path = Path(source)
    if path.is_dir():
        return path
    if path.exists() or not (isinstance(source, str) and _REPOSITORY.fullmatch(source)):
        raise MissingFileError(
            "a folder with config.json and weights, or a name on the hub such as 'microsoft/resnet-50'",
            got="a file" if path.exists() else "no such folder", fix="give the folder", where=where,
        )  # fmt: skip
    return _fetched(source, revision, where)


def _fetched(name: str, revision: str | None, where: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingExtraError(
            "huggingface_hub to fetch models", got="it is not installed", fix='pip install "phlox[hub]"', where=where
        ) from error
    try:
        try:
            found = snapshot_download(name, revision=revision, allow_patterns=_FILES)
            if not any(Path(found).glob("*.safetensors")):  # only older repositories have PyTorch's own files alone
                found = snapshot_download(name, revision=revision, allow_patterns=[*_FILES, "*.bin"])
        except LocalEntryNotFoundError:
            found = snapshot_download(name, revision=revision, local_files_only=True)
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise FileError(
            f"{name} on the hub, or in its cache", got=str(error).splitlines()[0][:200] if str(error) else repr(error),
            fix="look at the name, the network and HF_HUB_OFFLINE, or give a folder", where=where,
        ) from error  # fmt: skip
    return Path(found)
