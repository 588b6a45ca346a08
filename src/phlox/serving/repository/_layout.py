"""What stands in a folder of models: ``NAME/VERSION/``, or one bundle, file or model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from phlox.serving.language._opening import is_model_folder
from phlox.weights import MANIFEST, MissingFileError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile(r"0*[1-9]\d{0,17}")
POLICY = "config.json"


@dataclass(frozen=True)
class Found:
    """A version in a folder.

    Arguments:
        path: its folder or file.
        mark: changes when its content does.
    """

    path: Path
    mark: tuple[object, ...]


def find_models(source: Path, where: str) -> dict[str, dict[int, Found]]:
    """Versions by name and number.

    A folder of models holds a folder for each, which holds one for each version, named by its number. A bundle, a
    file, or the folder of a model of text is one model with the version 1. What begins with a dot, or is named
    otherwise, is left alone.

    Raises:
        MissingFileError: there is no such path.
    """
    if source.is_file() or (source / MANIFEST).is_file() or is_model_folder(source):
        return {_plain(source.stem if source.is_file() else source.resolve().name): {1: found_at(source)}}
    if not source.is_dir():
        fix = "give a folder of models, a bundle, an ONNX file, a file that px.save wrote, or the folder of a model"
        raise MissingFileError(f"{source} to exist", got="nothing", fix=fix, where=where)
    models = {p.name: _versions(p) for p in sorted(source.iterdir()) if is_name(p.name) and p.is_dir()}
    return {name: versions for name, versions in models.items() if versions}


def is_name(text: str) -> bool:
    """Whether a model may have this name.

    >>> is_name("digits-2.0"), is_name("../etc"), is_name("a b")
    (True, False, False)
    """
    return _NAME.fullmatch(text) is not None


def _versions(folder: Path) -> dict[int, Found]:
    numbered = [p for p in folder.iterdir() if _VERSION.fullmatch(p.name) and p.is_dir()]
    return {int(p.name): found_at(p) for p in sorted(numbered, key=lambda p: int(p.name))}


def found_at(path: Path) -> Found:
    """A version at a path, with its mark as it is now."""
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if not p.name.startswith("."))
    manifest = path / MANIFEST
    if manifest in files:
        files = [manifest]  # it has a checksum of every other file
    return Found(path, tuple(mark for file in files for mark in _mark(file)))


def _mark(file: Path) -> tuple[object, ...]:
    try:
        stat = file.stat()
    except OSError:  # it went away just now
        return (file.name,)
    return file.name, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _plain(name: str) -> str:
    """A name that may stand in an address.

    >>> _plain("my model")
    'my_model'
    """
    kept = re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".-")[:128]
    return kept or "model"
