"""safetensors: a header that is checked to the last byte, and arrays as views of the mapped file."""

from __future__ import annotations

import mmap
import os
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from phlox.weights._metadata import DTYPES
from phlox.weights.readers._arrays import Arrays, Part, Spec
from phlox.weights.readers._refusing import FilePath, checked_spec, corrupt, damage, is_size, parsed, regular

_KINDS: dict[str, Any] = {
    **DTYPES,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}
_MOST = 100_000_000  # bytes of a header, by the format


class Header(NamedTuple):
    """Where the arrays of a file lie."""

    specs: dict[str, Spec]  # in the order in which they lie
    starts: dict[str, int]  # from the beginning of the file
    metadata: dict[str, str]


def read_safetensors(path: FilePath, where: str) -> Arrays:
    """The arrays of one file, whose header was read and checked."""
    part, metadata = safetensors_part(path, where)
    return Arrays(path, "safetensors", [part], metadata)


def safetensors_part(path: FilePath, where: str) -> tuple[Part, dict[str, str]]:
    """One file that is mapped when the first of its arrays is asked for, and its text."""
    header = header_of(path, where)
    return Part(os.path.basename(path), lambda: _mapped(path, header, where), header.specs), header.metadata


def header_of(path: FilePath, where: str) -> Header:
    """The header of a file, checked against the file's length.

    Raises:
        FileError: it cannot be read. CorruptFileError: the header and the file do not go together.
    """
    with regular(path, where) as file:
        whole = os.fstat(file.fileno()).st_size
        size = int.from_bytes(file.read(8), "little")
        if whole < 8 or size > min(_MOST, whole - 8):
            raise corrupt("a whole safetensors file", f"a header of {size} bytes in a file of {whole}", where)
        text = file.read(size)
    if not text.startswith(b"{"):
        raise corrupt("a whole safetensors file", f"a header that begins with {text[:8]!r}", where)
    return _checked(parsed(text, "a safetensors header", where), 8 + size, whole, where)


def _checked(entries: dict[str, Any], begin: int, whole: int, where: str) -> Header:
    """The header as it stands in the file; its arrays must fill the rest of it, without gap or overlap."""
    metadata = entries.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise corrupt("metadata from text to text", repr(metadata), where)
    spans = {name: _span(name, entry, where) for name, entry in entries.items()}
    ordered = sorted(spans.items(), key=lambda item: (item[1][1], item[1][2]))
    at = 0
    for name, (_, start, end) in ordered:
        if start != at:
            raise corrupt(f"{name} to begin at byte {at}, where the array before it ends", f"byte {start}", where)
        at = end
    if begin + at != whole:
        raise corrupt(f"a file of {begin + at} bytes, as its header says", f"one of {whole}", where)
    specs = {name: spec for name, (spec, _, _) in ordered}
    return Header(specs, {name: begin + start for name, (_, start, _) in ordered}, metadata)


def _span(name: str, entry: Any, where: str) -> tuple[Spec, int, int]:
    """What an array is, and the bytes where it begins and ends."""
    with damage(f"the dtype, the shape and the place of {name}", where, TypeError, KeyError, ValueError):
        kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not (is_size(start) and is_size(end)):
            raise ValueError(f"bytes from {start!r} to {end!r}")
        if not isinstance(kind, str) or kind not in _KINDS:
            fix = "convert the array in the program that wrote it: NumPy has no such dtype, or this Phlox is too old"
            raise corrupt(f"a dtype among {', '.join(_KINDS)}", f"{kind!r} at {name}", where, fix)
        spec = checked_spec(shape, np.dtype(_KINDS[kind]))
    if end - start != spec.nbytes:
        raise corrupt(f"{spec.nbytes} bytes for {name}, {spec}", f"bytes {start} to {end}", where)
    return spec, start, end


def _mapped(path: FilePath, header: Header, where: str) -> dict[str, np.ndarray]:
    """Views of a file, which must be as it was when its header was read."""
    if header_of(path, where) != header:
        raise corrupt("a file that stays as it is", "another one of its name", where, "read it again")
    with regular(path, where) as file:
        words = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    if words.size < max((header.starts[name] + spec.nbytes for name, spec in header.specs.items()), default=0):
        raise corrupt("a file that stays as it is", "one that was just cut", where, "read it again")
    return {name: _view(words, header.starts[name], spec) for name, spec in header.specs.items()}


def _view(words: np.ndarray, start: int, spec: Spec) -> np.ndarray:
    return words[start : start + spec.nbytes].view(spec.dtype).reshape(spec.shape)
