"""HDF5: Keras' weights, and what HDF5.jl and JLD2 write of plain arrays."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

import ml_dtypes
import numpy as np

from phlox.weights.readers._arrays import Arrays, Part, Spec
from phlox.weights.readers._refusing import (
    DAMAGE,
    FilePath,
    check_sizes,
    checked_spec,
    corrupt,
    damage,
    file_size,
    package,
)
from phlox.weights.readers._trees import leaves_of

_EXTRA = 'pip install "phlox[weights]"'
_JULIA = (
    "write the arrays from Julia as safetensors, or each by its name with HDF5.jl: the page on weights has ten lines "
    "that do"
)


class Datasets(Mapping[str, np.ndarray]):
    """The datasets of a file, read from it one at a time; the file is opened for each."""

    def __init__(self, source: FilePath | bytes, specs: Mapping[str, Spec], where: str):
        self._source, self.specs, self._where = source, dict(specs), where

    def __getitem__(self, name: str) -> np.ndarray:
        whole = damage(f"{name} to be whole", self._where, *DAMAGE, TypeError)
        with _file(self._source, self._where) as file, whole:
            array = np.asarray(file[name][()])
        spec = self.specs[name]
        array = array.view(spec.dtype) if array.dtype.kind == "V" else array.astype(spec.dtype, copy=False)
        if array.shape != spec.shape:
            raise corrupt("a file that stays as it is", f"{name} of another shape", self._where, "read it again")
        array.flags.writeable = False
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)


def read_hdf5(path: FilePath, where: str) -> Arrays:
    """The arrays of an HDF5 file by the paths of its datasets."""
    size = file_size(path, where)
    specs, left_out = specs_of(path, size, where)
    part = Part(os.path.basename(path), lambda: Datasets(path, specs, where), specs)
    kind = "keras" if os.fspath(path).endswith((".weights.h5", ".keras")) else "hdf5"
    return Arrays(path, kind, [part], left_out=left_out)


def specs_of(source: FilePath | bytes, size: int, where: str) -> tuple[dict[str, Spec], list[str]]:
    """What the datasets of a file are, none read, and in words what is no array.

    Raises:
        CorruptFileError: it is damaged, leads out of itself, holds Julia's own structures, or sizes beyond its length.
    """
    specs: dict[str, Spec] = {}
    left_out: list[str] = []
    with _file(source, where) as file, damage("a whole HDF5 file", where, *DAMAGE, TypeError):
        for name, dataset in _datasets(file, where):
            spec = _spec(name, dataset, where)
            if spec is None:
                left_out.append(f"{name} ({dataset.dtype})")
            else:
                specs[name] = spec
    check_sizes(sum(spec.nbytes for spec in specs.values()), size, where)
    return specs, left_out


def _file(source: FilePath | bytes, where: str) -> Any:
    """A file or the bytes of one, open for reading."""
    h5py = package("h5py", _EXTRA, where)
    with damage("a whole HDF5 file", where, *DAMAGE):
        return h5py.File(BytesIO(source) if isinstance(source, bytes) else source, "r")


def _datasets(file: Any, where: str) -> Iterator[tuple[str, Any]]:
    """All datasets by path."""
    h5py = package("h5py", _EXTRA, where)
    met: set[int] = set()

    def children(name: str, group: Any) -> Iterator[tuple[str, Any]] | None:
        if not isinstance(group, h5py.Group):
            return None
        place = h5py.h5o.get_info(group.id).addr
        if place in met:
            fix = "copy the file with each group in one place"
            raise corrupt("groups that stand once in the file", f"{name}, which stands elsewhere too", where, fix)
        met.add(place)
        return _children(h5py, name, group, where)

    return ((name, leaf) for name, leaf in leaves_of(file, children, where) if isinstance(leaf, h5py.Dataset))


def _children(h5py: Any, name: str, group: Any, where: str) -> Iterator[tuple[str, Any]]:
    """What stands in a group itself; links to elsewhere are refused."""
    for key in group:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            path, fix = f"{name}/{key}".lstrip("/"), "copy the file with its links followed"
            raise corrupt("arrays in the file itself", f"a link at {path}", where, fix)
        yield key, group[key]


def _spec(name: str, dataset: Any, where: str) -> Spec | None:
    """What a dataset is; None of text."""
    if dataset.external or dataset.is_virtual:
        raise corrupt("arrays in the file itself", f"{name}, kept in another file", where, "write them into one file")
    kind = dataset.dtype
    if dataset.attrs.get("dtype") == "bfloat16" and kind.itemsize == 2:
        return checked_spec(dataset.shape, np.dtype(ml_dtypes.bfloat16))
    if dataset.shape is None or (kind.kind in "SUO" and package("h5py", _EXTRA, where).check_string_dtype(kind)):
        return None
    if kind.kind not in "biufc":
        raise corrupt(
            "arrays of numbers", f"{name} of {kind}: Julia's own structures, or another program's", where, _JULIA
        )
    return checked_spec(dataset.shape, kind.newbyteorder("="))
