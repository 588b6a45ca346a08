"""Flax's msgpack, as ``flax.serialization.to_bytes`` writes it: arrays as extension types, large ones in chunks."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from phlox.weights.readers._arrays import Arrays, Part, Spec
from phlox.weights.readers._refusing import FilePath, checked_spec, corrupt, damage, package, regular
from phlox.weights.readers._trees import flattened, in_words

_ARRAY, _SCALAR = 1, 3  # codes of Flax's extension types
_CHUNKED = "__msgpack_chunked_array__"
_LONGEST = 4096  # of a list: the package makes room for what a file claims
_NAMED = "bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e4m3b11fnuz int4 uint4"
_KINDS: dict[str, Any] = {
    **{name: np.dtype(name) for name in ["bool", "float16", "float32", "float64", "complex64", "complex128"]},
    **{f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{name: np.dtype(getattr(ml_dtypes, name)) for name in _NAMED.split()},
}


def read_flax(path: FilePath, where: str) -> Arrays:
    """The arrays of a file, nested names joined by ``/``."""
    found, left_out = _arrays(path, where)
    specs = {name: Spec.of(array) for name, array in found.items()}
    part = Part(os.path.basename(path), lambda: _arrays(path, where)[0], specs, opened=found)
    return Arrays(path, "flax", [part], left_out=left_out)


def _arrays(path: FilePath, where: str) -> tuple[dict[str, np.ndarray], list[str]]:
    msgpack = package("msgpack", 'pip install "phlox[weights]"', where)
    hook = lambda code, data: _extension(msgpack, code, data)  # noqa: E731
    kinds = (ValueError, TypeError, RecursionError, msgpack.UnpackException)
    with (
        damage("a whole msgpack file of Flax", where, *kinds),
        regular(path, where) as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as words,
    ):
        tree = msgpack.unpackb(words, ext_hook=hook, max_array_len=_LONGEST, object_pairs_hook=_mapping)
    if not isinstance(tree, Mapping):
        raise corrupt("a msgpack file of Flax: names and arrays", type(tree).__name__, where)
    leaves = flattened(tree, where)
    arrays = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, np.ndarray)}
    return arrays, [in_words(name, leaf) for name, leaf in leaves.items() if name not in arrays]


def _mapping(pairs: list[tuple[Any, Any]]) -> Any:
    """A mapping, or the array whose chunks it holds."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in a mapping")
    return _joined(found) if _CHUNKED in found else found


def _joined(entry: dict[str, Any]) -> np.ndarray:
    """An array out of its chunks."""
    shape, chunks = _in_order(entry.get("shape")), _in_order(entry.get("chunks"))
    if not chunks or not all(isinstance(chunk, np.ndarray) for chunk in chunks):
        raise ValueError("an array in chunks without its chunks")
    whole = np.concatenate([chunk.reshape(-1) for chunk in chunks])
    spec = checked_spec(shape, whole.dtype)
    if spec.nbytes != whole.nbytes:
        raise ValueError(f"chunks of {whole.size} values for an array of shape {spec.shape}")
    whole.flags.writeable = False
    return whole.reshape(spec.shape)


def _in_order(numbered: Any) -> list[Any]:
    """The values of what Flax makes of a list: a mapping from its numbers as text."""
    if not isinstance(numbered, dict) or set(numbered) != {str(i) for i in range(len(numbered))}:
        raise ValueError("a list that is not numbered from 0")
    return [numbered[str(i)] for i in range(len(numbered))]


def _extension(msgpack: Any, code: int, data: bytes) -> Any:
    """An array or a scalar of NumPy's; of other kinds the words, which are then left out."""
    if code not in (_ARRAY, _SCALAR):
        return msgpack.ExtType(code, b"")
    parts = msgpack.unpackb(data, max_array_len=64, max_map_len=0, max_ext_len=0)
    if not isinstance(parts, list) or len(parts) != 3:
        raise ValueError("an array that is not a shape, a dtype and bytes")
    shape, name, words = parts
    if not isinstance(words, bytes):
        raise ValueError(f"an array of {type(words).__name__}, not of bytes")
    if name not in _KINDS:
        raise ValueError(f"the dtype {str(name)[:60]!r}")
    spec = checked_spec(shape, _KINDS[name])
    if spec.nbytes != len(words):
        raise ValueError(f"{len(words)} bytes for {spec}")
    return np.frombuffer(words, spec.dtype).reshape(spec.shape)
