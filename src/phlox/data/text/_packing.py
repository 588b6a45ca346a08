"""Documents side by side in rows of one length, so that little is padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np

from phlox.core import RangeError, ShapeError, StructureError, describe
from phlox.data._observations import whole

Fit = Literal["first", "next", "cut"]
Long = Literal["split", "refuse"]
_OPEN = 64  # rows that a stream keeps open
Row = list[tuple[int, int, int]]  # document, from where, to where


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Packed:
    """Rows of documents: a pytree, so that loaders and ``px.jit`` take it as it is.

    Shapes:
        tokens, segments, positions: (batch, time) int32, or (time,) of one row.

    Arguments:
        tokens: the documents one after the other, filled up behind.
        segments: which document of its row a token is of, from 1; 0 where there is none.
        positions: the place of each token in its document, from 0, or in the part of it that is in this row.

    >>> import phlox as px
    >>> rows = px.data.text.pack([[5, 6], [7, 8, 9]], 6)
    >>> rows.segments.tolist(), rows.positions.tolist()
    ([[1, 1, 2, 2, 2, 0]], [[0, 1, 0, 1, 2, 0]])
    """

    tokens: Any
    segments: Any
    positions: Any


def pack(documents: Iterable[Any], length: int, *, fit: Fit = "first", long: Long = "split", value: int = 0) -> Packed:
    """Documents packed into rows of one length; every token is in exactly one row.

    Shapes:
        documents: each (time,) of whole numbers; the result: ``Packed`` of (rows, length).

    Arguments:
        length: of a row.
        fit: ``"first"`` puts each document into the first row that has room; ``"next"`` into the last row or a new
            one, which keeps their order; ``"cut"`` fills every row to its end and cuts documents there.
        long: what becomes of a document that is longer than a row: ``"split"`` into parts, or ``"refuse"``.
        value: what rows are filled up with.

    Raises:
        RangeError: a document that is too long, where it is refused. ShapeError: no document with a token.

    Source: first-fit and next-fit: Johnson, "Near-optimal bin packing algorithms", 1973.

    >>> import phlox as px
    >>> px.data.text.pack([[1, 1, 1], [2, 2, 2, 2], [3], [4]], 5).tokens.tolist()
    [[1, 1, 1, 3, 4], [2, 2, 2, 2, 0]]
    >>> px.data.text.pack([[1, 1, 1], [2, 2, 2, 2], [3], [4]], 5, fit="cut").tokens.tolist()
    [[1, 1, 1, 2, 2], [2, 2, 3, 4, 0]]
    """
    where, length = "pack", _checked("pack", length, fit, long)
    found = [_document(document, where) for document in documents]
    rows = _rows([len(document) for document in found], length, fit, long)
    if not rows:
        raise ShapeError("documents with tokens", got=f"{len(found)} empty ones", fix="give some text", where=where)
    filled = [_filled([found[n][a:b] for n, a, b in row], length, value) for row in rows]
    return Packed(*(np.stack(arrays) for arrays in zip(*filled, strict=True)))


class PackedStream:
    """Rows of packed documents, one after the other, from documents that come as a stream.

    Each pass goes through the documents anew. It is data for ``px.DataLoader``, which puts rows together. With
    ``fit="first"`` as many rows stay open at a time as ``open`` says, and the fullest is given when there is one more.

    Shapes:
        documents: each (time,) of whole numbers; items: ``Packed`` of (length,).

    Arguments:
        documents: an iterable that can start over, or a function that gives one, such as a generator function.
        length, fit, long, value: as for ``pack``.
        open: how many rows wait for a document that fits.

    Raises:
        RangeError: a document that is too long, where it is refused, when the stream comes to it.

    >>> import phlox as px
    >>> stream = px.data.text.PackedStream(lambda: ([n] * n for n in range(1, 5)), 4)
    >>> [row.tokens.tolist() for row in stream]
    [[4, 4, 4, 4], [1, 2, 2, 0], [3, 3, 3, 0]]
    >>> batches = px.DataLoader(stream, 2)
    >>> [batch.segments.shape for batch in batches]
    [(2, 4), (1, 4)]
    """

    documents: Any
    length: int
    value: int
    open: int

    def __init__(
        self,
        documents: Any,
        length: int,
        *,
        fit: Fit = "first",
        long: Long = "split",
        value: int = 0,
        open: int = _OPEN,
    ):
        where = type(self).__name__
        if iter(documents) is documents if not callable(documents) else False:
            fix = "give a list, or a function that gives a new generator each time"
            raise StructureError("documents that can start over", got=describe(documents), fix=fix, where=where)
        self.documents, self.length, self.fit, self.long = documents, _checked(where, length, fit, long), fit, long
        self.value, self.open = value, whole(where, "open", open)

    def __iter__(self) -> Iterator[Packed]:
        found: Any = self.documents() if callable(self.documents) else self.documents
        rows = _Open(self.length, 1 if self.fit != "first" else self.open)
        for number, document in enumerate(found):
            tokens = _document(document, type(self).__name__)
            for piece in self._pieces(tokens, number, rows):
                for full in rows.put(piece):
                    yield self._row(full)
        for row in rows.rest():
            yield self._row(row)

    def _pieces(self, tokens: np.ndarray, number: int, rows: _Open) -> Iterator[np.ndarray]:
        first = 0
        for last in _cuts(len(tokens), number, rows.room, self.length, self.fit, self.long):
            yield tokens[first:last]
            first = last

    def _row(self, pieces: list[np.ndarray]) -> Packed:
        return Packed(*_filled(pieces, self.length, self.value))


class _Open:
    """Rows that wait for more, at most so many."""

    def __init__(self, length: int, most: int):
        self.length, self.most = length, most
        self.rows: list[list[np.ndarray]] = []
        self.free: list[int] = []

    @property
    def room(self) -> int:
        """What is free in the last row; a whole row where there is none."""
        return self.free[-1] if self.free else self.length

    def put(self, piece: np.ndarray) -> Iterator[list[np.ndarray]]:
        """Put a piece into the first row with room, and give rows that are full, or that make room for one more."""
        place = next((n for n, free in enumerate(self.free) if free >= len(piece)), len(self.rows))
        if place == len(self.rows):
            if place == self.most:
                yield self._taken(int(np.argmin(self.free)))
            self.rows.append([])
            self.free.append(self.length)
            place = len(self.rows) - 1
        self.rows[place].append(piece)
        self.free[place] -= len(piece)
        if not self.free[place]:
            yield self._taken(place)

    def _taken(self, place: int) -> list[np.ndarray]:
        self.free.pop(place)
        return self.rows.pop(place)

    def rest(self) -> list[list[np.ndarray]]:
        """What is still open."""
        return self.rows


def _checked(where: str, length: int, fit: str, long: str) -> int:
    for name, given, known in (("fit", fit, ("first", "next", "cut")), ("long", long, ("split", "refuse"))):
        if given not in known:
            fix = f"choose one of {', '.join(map(repr, known))}"
            raise RangeError(f"{name} to be known", got=repr(given), fix=fix, where=where)
    return whole(where, "length", length)


def _document(document: Any, where: str) -> np.ndarray:
    found = np.asarray(document)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        fix = "give the numbers of tokens: Tokenizer.encode(texts)"
        raise ShapeError("documents (time,) of whole numbers", got=describe(found), fix=fix, where=where)
    return found.astype(np.int32)


def _cuts(size: int, number: int, room: int, length: int, fit: str, long: str) -> list[int]:
    """Where the pieces of a document end."""
    if size > length and long == "refuse":
        got, fix = f"{size} (document {number})", 'cut it, or give long="split"'
        raise RangeError(f"documents of at most {length} tokens", got=got, fix=fix, where="pack")
    first = min(room, size) if fit == "cut" else 0
    cuts = dict.fromkeys([first, *range(first + length, size, length), size])
    return [cut for cut in cuts if cut > 0]


def _rows(sizes: list[int], length: int, fit: str, long: str) -> list[Row]:
    """Which pieces are in which row."""
    pieces: Row = []
    room = length
    for number, size in enumerate(sizes):
        first = 0
        for last in _cuts(size, number, room, length, fit, long):
            pieces.append((number, first, last))
            room = (room - (last - first)) or length
            first = last
    places = _first_fit if fit == "first" else _next_fit
    rows: dict[int, Row] = {}
    for piece, place in zip(pieces, places([b - a for _, a, b in pieces], length), strict=True):
        rows.setdefault(place, []).append(piece)
    return list(rows.values())


def _next_fit(sizes: list[int], length: int) -> Iterator[int]:
    row, free = 0, length
    for size in sizes:
        if size > free:
            row, free = row + 1, length
        free -= size
        yield row


def _first_fit(sizes: list[int], length: int) -> Iterator[int]:
    """The first row with room for each, found in a tree whose nodes hold the most room below them."""
    leaves = 1 << max(len(sizes) - 1, 0).bit_length()
    most = np.full(2 * leaves, length)
    for size in sizes:
        node = 1
        while node < leaves:
            node = 2 * node + bool(most[2 * node] < size)
        yield node - leaves
        most[node] -= size
        while node > 1:
            node //= 2
            most[node] = max(most[2 * node], most[2 * node + 1])


def _filled(pieces: list[np.ndarray], length: int, value: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    tokens, segments, positions = np.full(length, value, np.int32), *np.zeros((2, length), np.int32)
    place = 0
    for number, piece in enumerate(pieces, 1):
        here = slice(place, place + len(piece))
        tokens[here], segments[here], positions[here] = piece, number, np.arange(len(piece))
        place += len(piece)
    return tokens, segments, positions
