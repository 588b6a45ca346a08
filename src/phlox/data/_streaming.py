"""Batches of a stream: shuffled within a window, put into buckets, counted, read again up to a position."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from phlox.data._buckets import Buckets
from phlox.data._order import Shard, rows_of
from phlox.data._sources import Stream


class Streamed:
    """The batches of an epoch of a stream.

    Arguments:
        stream: what is read.
        size: how many observations a batch holds, over all processes.
        window: how many observations are shuffled among each other; 1 keeps the order.
        seed: words of the seed.
        drop_last: leave batches out that are not full.
        shard: which process this is, and of how many; each reads the whole stream and keeps its rows.
        buckets: how sequences are padded, or None.
    """

    def __init__(
        self,
        stream: Stream,
        size: int,
        window: int,
        seed: list[int],
        drop_last: bool,
        shard: Shard,
        buckets: Buckets | None,
    ):
        self._stream, self._size, self._window, self._seed = stream, size, window, seed
        self._drop_last, self._shard, self._buckets = drop_last, shard, buckets

    def batches(self, epoch: int, first: int, place: Any, padded: bool) -> Iterator[tuple[Any, np.ndarray, Any]]:
        """From batch ``first`` on: the batch, its mask, and the place behind it."""
        items = self._stream.start(epoch)
        # What waits in a window or a bucket is read, but not used yet: only without them the own position is ours.
        plain = self._window == 1 and self._buckets is None
        tells = getattr(items, "get_state", None) if plain else None
        if place is not None and tells is not None:
            items.set_state(place)  # type: ignore[attr-defined]
            first = 0
        groups = self._groups(_shuffled(items, self._window, [*self._seed, epoch]))
        for found, length in itertools.islice(groups, first, None):
            rows, mask = rows_of(np.arange(len(found)), self._size, self._shard, padded)
            chosen = [found[i] for i in rows]
            batch = self._stream.collate(chosen) if length is None else self._buckets.collate(chosen, length)  # type: ignore[union-attr]
            yield batch, mask, tells() if tells is not None else None

    def _groups(self, items: Iterator[Any]) -> Iterator[tuple[list[Any], int | None]]:
        """Observations of one batch each, and what they are padded to."""
        waiting: dict[int | None, list[Any]] = {}
        for item in items:
            length = None if self._buckets is None else self._buckets.padded_length(item)
            group = waiting.setdefault(length, [])
            group.append(item)
            if len(group) == self._size:
                yield waiting.pop(length), length
        if not self._drop_last:
            yield from ((waiting[length], length) for length in sorted(waiting, key=lambda n: n or 0))


def _shuffled(items: Iterator[Any], window: int, seed: list[int]) -> Iterator[Any]:
    """The items in an order by the seed within windows of so many."""
    if window == 1:
        yield from items
        return
    rng = np.random.default_rng(seed)
    while block := list(itertools.islice(items, window)):
        yield from (block[i] for i in rng.permutation(len(block)))
