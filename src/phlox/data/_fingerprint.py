"""What tells one set of data from another: a digest of its numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from phlox.core import describe, is_key
from phlox.data.loading._loader import DataLoader
from phlox.data.loading._sources import Stream, source_of
from phlox.data.readers._foreign import is_from

_BLOCK = 1 << 25  # bytes that are read at a time
_MOST = 1 << 28  # bytes that are looked at: a fraction of a second


@dataclass(frozen=True)
class Fingerprint:
    """What is known of some data without training on it.

    Attributes:
        content: its arrays, ``float32[64, 1], int32[64]``, or what kind of object it is.
        rows: how many observations it has, None where nobody knows.
        digest: of the numbers, 64 hexadecimal digits; empty where they were not looked at.
        looked_at: how many observations the digest is of.
    """

    content: str
    rows: int | None
    digest: str = ""
    looked_at: int = 0


def fingerprint(data: Any, *, most: int = _MOST) -> Fingerprint:
    """What tells data from other data: SHA-256 of its shapes, dtypes and numbers.

    Data of more than ``most`` bytes is sampled: rows evenly spread over it, the first and the last among them. Nothing
    is read that is not in memory, since reading may cost, and may draw random numbers: of files and streams there is
    what they say of themselves, by an attribute ``fingerprint`` (a text), or as data sets of ``datasets`` do.

    Arguments:
        data: as for ``px.fit``: arrays, a tuple or dict of them, a ``px.DataLoader``, or a list of batches.
        most: bytes that are looked at.

    >>> import numpy as np, phlox as px
    >>> x = np.arange(6.0).reshape(3, 2)
    >>> px.data.fingerprint(x).content, px.data.fingerprint(x) == px.data.fingerprint(x.copy())
    ('float64[3, 2]', True)
    >>> px.data.fingerprint(x).digest == px.data.fingerprint(x[::-1]).digest
    False
    """
    own = _own(data)
    if own is not None:
        return own
    if isinstance(data, list) and data and all(map(_of_arrays, data)):  # batches
        return _of_blocks(iter(data), f"{len(data)} batches of {_content(data[0])}", None, len(data))
    source = data._source if isinstance(data, DataLoader) else _source(data)
    if source is None or isinstance(source, Stream) or not source.in_memory:
        return _by_name(data)
    return _of_source(source, most)


def _own(data: Any) -> Fingerprint | None:
    """What data says of itself."""
    if is_from(data, "datasets"):
        return Fingerprint(type(data).__name__, _count(data), str(getattr(data, "_fingerprint", "")), _count(data) or 0)
    told = getattr(data, "fingerprint", None)
    return Fingerprint(type(data).__name__, _count(data), told, _count(data) or 0) if isinstance(told, str) else None


def _source(data: Any) -> Any:
    """The way to read data, where it is arrays in memory."""
    if not (_of_arrays(data) or hasattr(data, "iloc") or is_from(data, "torch")):
        return None
    return source_of(data, None)


def _of_arrays(data: Any) -> bool:
    if not isinstance(data, tuple | list | Mapping | np.ndarray | jax.Array):
        return False
    leaves = jax.tree.leaves(data)
    return bool(leaves) and all(_is_numbers(v) for v in leaves)


def _is_numbers(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray | jax.Array) and leaf.dtype != object and not is_key(leaf)


def _by_name(data: Any) -> Fingerprint:
    inner = getattr(getattr(data, "_source", None), "_data", None)
    own = None if inner is None else _own(inner)
    return own or Fingerprint(type(data if inner is None else inner).__name__, _count(data if inner is None else inner))


def _count(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:
        return None


def _of_source(source: Any, most: int) -> Fingerprint:
    count = len(source)
    first = source.read(np.arange(min(1, count)))
    row = max(1, sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(first)))
    taken = count if count * row <= most else max(2, most // row)
    rows = np.unique(np.linspace(0, count - 1, taken).astype(np.int64)) if count else np.arange(0)
    size = max(1, _BLOCK // row)
    blocks = (source.read(rows[n : n + size]) for n in range(0, len(rows), size))
    return _of_blocks(blocks, _content(first, count), count, len(rows))


def _of_blocks(blocks: Iterator[Any], content: str, rows: int | None, looked_at: int) -> Fingerprint:
    """The digest of the numbers of each array by itself, however they are cut into blocks."""
    found: dict[str, Any] = {}
    for block in blocks:
        for path, leaf in jax.tree_util.tree_flatten_with_path(block)[0]:
            name = f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape[1:]}"
            array = np.ascontiguousarray(leaf)
            found.setdefault(name, hashlib.sha256()).update(array.reshape(-1).view(np.uint8))
    whole = hashlib.sha256(content.encode())
    for name in sorted(found):
        whole.update(name.encode() + found[name].digest())
    return Fingerprint(content, rows, whole.hexdigest(), looked_at)


def _content(tree: Any, rows: int | None = None) -> str:
    """The arrays of a tree, as of so many rows."""
    leaves = [leaf if hasattr(leaf, "dtype") else np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    if rows is None:
        return ", ".join(map(describe, leaves))
    return ", ".join(f"{leaf.dtype}{[rows, *leaf.shape[1:]]}" for leaf in leaves)
