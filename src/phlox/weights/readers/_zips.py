"""Zip archives: NPZ, and Keras' models. What is in them is read in memory; nothing is unpacked to the disk."""

from __future__ import annotations

import os
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO

import numpy as np

from phlox.weights.readers._arrays import Arrays, Part, Spec
from phlox.weights.readers._hdf5 import Datasets, specs_of
from phlox.weights.readers._pytorch import read_pytorch
from phlox.weights.readers._refusing import DAMAGE, FilePath, check_sizes, checked_spec, corrupt, damage, file_size

_WEIGHTS = "model.weights.h5"


class Members(Mapping[str, np.ndarray]):
    """The arrays of an NPZ, read one at a time."""

    def __init__(self, path: FilePath, specs: Mapping[str, Spec], where: str):
        self._path, self._specs, self._where = path, specs, where

    def __getitem__(self, name: str) -> np.ndarray:
        with (
            damage(f"{name} to be whole", self._where, *DAMAGE),
            zipfile.ZipFile(self._path) as archive,
            _opened(archive, f"{name}.npy", self._where) as file,
        ):
            spec = _npy_spec(file, name, self._where)
            if spec != self._specs[name]:
                raise corrupt("a file that stays as it is", f"{name} as {spec}", self._where, "read it again")
            file.seek(0)
            array = np.lib.format.read_array(file, allow_pickle=False).astype(spec.dtype, copy=False)
        array.flags.writeable = False
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)


def read_zip(path: FilePath, where: str) -> Arrays:
    """The arrays of an archive, by what is in it."""
    size = file_size(path, where)
    with damage("a whole zip archive", where, *DAMAGE), zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise corrupt("an archive in which no name stands twice", repr(sorted(names)[:8]), where)
    if any(name.endswith("data.pkl") for name in names):
        return read_pytorch(path, where)
    check_sizes(sum(entry.file_size for entry in entries), size, where)
    if _WEIGHTS in names:
        return _read_keras(path, where)
    if all(name.endswith(".npy") for name in names):
        return _read_npz(path, names, size, where)
    fix = "unpack it, and read the file of weights in it"
    raise corrupt(f"an archive of PyTorch, of NumPy or of Keras, which has {_WEIGHTS}", repr(names[:8]), where, fix)


def _read_keras(path: FilePath, where: str) -> Arrays:
    def datasets() -> tuple[Datasets, list[str]]:
        with (
            damage(f"{_WEIGHTS} to be whole", where, *DAMAGE),
            zipfile.ZipFile(path) as archive,
            _opened(archive, _WEIGHTS, where) as file,
        ):
            words = file.read()
        specs, left_out = specs_of(words, len(words), where)
        return Datasets(words, specs, where), left_out

    found, left_out = datasets()
    specs = found.specs
    part = Part(os.path.basename(path), lambda: datasets()[0], specs, opened=found)
    return Arrays(path, "keras", [part], left_out=left_out)


def _read_npz(path: FilePath, names: list[str], size: int, where: str) -> Arrays:
    specs: dict[str, Spec] = {}
    with damage("a whole NPZ", where, *DAMAGE), zipfile.ZipFile(path) as archive:
        for member in names:
            name = member.removesuffix(".npy")
            with _opened(archive, member, where) as file:
                specs[name] = _npy_spec(file, name, where)
    check_sizes(sum(spec.nbytes for spec in specs.values()), size, where)
    return Arrays(path, "npz", [Part(os.path.basename(path), lambda: Members(path, specs, where), specs)])


def _opened(archive: zipfile.ZipFile, member: str, where: str) -> IO[bytes]:
    """A member, open for reading; what else zip archives know takes as much memory as a file says."""
    entry = archive.getinfo(member)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        fix = "pack it again, with numpy.savez_compressed or by deflation"
        raise corrupt("members that are stored or deflated", f"{member} packed in another way", where, fix)
    return archive.open(entry)


def _npy_spec(file: IO[bytes], name: str, where: str) -> Spec:
    """What the array of a member is, by its header.

    Raises:
        CorruptFileError: it holds Python objects, which would be run to be read, or words without a dtype's name.
    """
    kinds = (*DAMAGE, TypeError, SyntaxError, tokenize.TokenError, MemoryError)  # of the parser, whose stack is full
    with damage(f"a header of NumPy for {name}", where, *kinds):
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = header(file)
        spec = checked_spec(shape, kind.newbyteorder("="))
    if kind.hasobject:
        raise corrupt("arrays of numbers", f"{name} of Python objects", where, "save it again as numbers")
    if kind.kind not in "biufc":
        fix = "save it as float32: NPZ does not keep the names of bfloat16 and float8"
        raise corrupt("arrays of numbers", f"{name} of {kind}", where, fix)
    return spec
