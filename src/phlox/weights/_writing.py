"""A safetensors file written array by array: no more than one of them need be at hand at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from phlox.weights._errors import FileError
from phlox.weights._metadata import DIGEST, DTYPES, Digest
from phlox.weights._replacing import replacing
from phlox.weights._whole import any_of_all, is_cut

NAMES = {np.dtype(kind): name for name, kind in DTYPES.items()}
Form = tuple[tuple[int, ...], np.dtype[Any]]  # of an array that is to come
Named = Iterable[tuple[str, np.ndarray[Any, Any]]]


@dataclass(frozen=True)
class Layout:
    """Where everything stands in a file.

    Attributes:
        head: the length of the header and the header itself.
        starts: by name, the byte at which an array begins.
    """

    head: bytes
    starts: Mapping[str, int]

    @classmethod
    def of(cls, forms: Mapping[str, Form], metadata: Mapping[str, str]) -> Layout:
        """Wide dtypes first, so that each array lies at a multiple of its width; of one width, by name."""
        entries: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
        at, offsets = 0, {}
        for name in sorted(forms, key=lambda name: (-forms[name][1].itemsize, name)):
            shape, dtype = forms[name]
            end = at + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            entries[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [at, end]}
            offsets[name], at = at, end
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
        text = text.ljust(-(-len(text) // 8) * 8)
        head = len(text).to_bytes(8, "little") + text
        return cls(head, {name: len(head) + start for name, start in offsets.items()})

    @property
    def digest_at(self) -> int:
        """Where the checksum stands, which is known last."""
        mark = f'"{DIGEST}":"'.encode()
        return self.head.index(mark) + len(mark)


def write_arrays(
    path: str | os.PathLike[str], forms: Mapping[str, Form], arrays: Named, metadata: Mapping[str, str], where: str
) -> None:
    """Write a file, whole or not at all.

    Arguments:
        forms: shape and dtype of each array.
        arrays: the arrays, in the order of their names where the metadata has a place for their checksum.
        metadata: the text beside them; under ``DIGEST`` comes the checksum.

    Raises:
        FileError: the file cannot be written.
    """
    layout = Layout.of(forms, metadata)
    total = Digest(metadata) if DIGEST in metadata else None
    with replacing(path, where=where) as temporary, open(temporary, "r+b") as file:
        file.write(layout.head)
        for name, array in arrays:
            ready = np.asarray(array, order="C")
            if total is not None:
                total.add(name, ready)
            file.seek(layout.starts[name])
            file.write(ready.reshape(-1).view(np.uint8).data)
        if total is not None:
            file.seek(layout.digest_at)
            file.write(total.text().encode())


def write_by_one(
    path: str | os.PathLike[str],
    forms: Mapping[str, Form],
    arrays: Named,
    metadata: Mapping[str, str],
    where: str,
    values: Iterable[Any],
) -> None:
    """As ``write_arrays``, of arrays that may lie in parts over several processes: all call it, and process 0 writes.

    Arguments:
        arrays: brings one array after the other together, in all processes.
        values: the arrays as they lie.

    Raises:
        FileError: the file cannot be written, in all processes.
    """
    values = [value for value in values if is_cut(value)]
    if not values:
        return write_arrays(path, forms, arrays, metadata, where)
    coming, error = iter(arrays), None
    if jax.process_index() == 0:
        try:
            write_arrays(path, forms, coming, metadata, where)
        except Exception as failure:
            error = failure
    _let_pass(coming)
    failed = any_of_all(error is not None, values)
    if error is not None:
        raise error
    if failed:
        raise FileError("to be written by process 0", got="an error there", fix="look at what it printed", where=where)
    return None


def _let_pass(coming: Iterator[Any]) -> None:
    """Bring together what is left: the other processes wait for it."""
    with suppress(StopIteration):
        while True:
            next(coming)
