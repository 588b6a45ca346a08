"""The files of known data sets as images and labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from phlox.data.fetching._remote import RemoteFile
from phlox.data.readers._cifar import read_cifar
from phlox.data.readers._files import corrupt, extra
from phlox.data.readers._idx import read_idx
from phlox.data.sets._known import KnownSet

Pair = tuple[np.ndarray, np.ndarray]
Place = Callable[[RemoteFile], Path]  # where a file lies, fetched if need be
SPLITS = ("train", "test")


def read_split(known: KnownSet, split: str, folder: Path, place: Place, coarse: bool, where: str) -> Pair:
    """Images (n, height, width, channels) uint8 and labels (n,) int32 of one part of a set.

    Arguments:
        folder: the set's own.
        place: gives the path of one of its files.

    Raises:
        CorruptFileError: a file of another content than the set has.
    """
    part = SPLITS.index(split)
    if known.kind == "cifar":
        images, labels, path = *_cifar(known, split, folder, place, coarse, where), folder
    elif known.kind == "svhn":
        images, labels, path = _svhn(place(known.files[part]), where)
    else:
        images, labels, path = _idx(*(place(file) for file in known.files[2 * part : 2 * part + 2]))
    if images.shape != (known.sizes[part], *known.shape) or labels.shape != images.shape[:1]:
        got = f"{list(images.shape)} and {list(labels.shape)}"
        raise corrupt(f"images {[known.sizes[part], *known.shape]} and as many labels", got, path, where)
    return images, labels


def _idx(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray, Path]:
    found = read_idx(images)
    return found.reshape(*found.shape, 1), read_idx(labels).astype(np.int32), images


def _cifar(known: KnownSet, split: str, folder: Path, place: Place, coarse: bool, where: str) -> Pair:
    """The binary version, unpacked beside its archive, which is not needed any more then."""
    classes = len(known.classes)
    inside, batches = ("cifar-10-batches-bin", "data_batch_{}.bin") if classes == 10 else ("cifar-100-binary", "")
    train = [batches.format(i) for i in range(1, 6)] if batches else ["train.bin"]
    names = train if split == "train" else ["test_batch.bin" if batches else "test.bin"]
    unpacked = folder / "unpacked"
    size = known.sizes[SPLITS.index(split)] // len(names) * (classes // 100 + 1 + math.prod(known.shape))
    if not all(_has_size(unpacked / inside / name, size) for name in names):
        from phlox.data.fetching._unpacking import unpack

        unpack(place(known.files[0]), unpacked, where, anew=True)
    pairs = [read_cifar(unpacked / inside / name, classes=classes, coarse=coarse) for name in names]
    return np.concatenate([images for images, _ in pairs]), np.concatenate([labels for _, labels in pairs])


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _svhn(path: Path, where: str) -> tuple[np.ndarray, np.ndarray, Path]:
    """A file of MATLAB's: images with their number last, labels in 1 … 10, where 10 is the digit 0."""
    loader: Any = extra("scipy.io", "scipy", "quickstart", where)
    try:
        found = loader.loadmat(path)
        images, labels = np.asarray(found["X"]), np.asarray(found["y"]).ravel()
    except Exception as error:  # whatever damaged bytes lead SciPy to
        raise corrupt("MATLAB's X and y", f"{type(error).__name__}: {error}", path, where) from None
    return np.ascontiguousarray(np.moveaxis(images, -1, 0)), (labels % 10).astype(np.int32), path
