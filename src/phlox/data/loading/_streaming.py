"""Batches of a stream: shuffled within a window, put into buckets, counted, read again up to a position."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from phlox.core import StructureError
from phlox.data.loading._buckets import Buckets
from phlox.data.loading._order import Share, rows_of
from phlox.data.loading._sources import Stream


class Streamed:
    """The batches of an epoch of a stream.

    Arguments:
        stream: what is read.
        size: how many observations a batch holds, over all processes.
        window: how many observations are shuffled among each other; 1 keeps the order.
        seed: words of the seed.
        drop_last: leave batches out that are not full.
        share: which rows of each batch come; each process reads the whole stream and keeps its own.
        buckets: how sequences are padded, or None.
    """

    def __init__(
        self,
        stream: Stream,
        size: int,
        window: int,
        seed: list[int],
        drop_last: bool,
        share: Share,
        buckets: Buckets | None,
    ):
        self._stream, self._size, self._window, self._seed = stream, size, window, seed
        self._drop_last, self._share, self._buckets = drop_last, share, buckets

    def batches(self, epoch: int, first: int, place: Any, padded: bool) -> Iterator[tuple[Any, np.ndarray, Any]]:
        """From batch ``first`` on: the batch, its mask, and the place behind it."""
        items: Any = self._stream.start(epoch)
        try:
            yield from self._batches(items, epoch, first, place, padded)
        finally:
            if hasattr(items, "close"):  # generators, and the processes of Grain
                items.close()

    def _batches(
        self, items: Any, epoch: int, first: int, place: Any, padded: bool
    ) -> Iterator[tuple[Any, np.ndarray, Any]]:
        # What waits in a window or a bucket is read, but not used yet: only without them the own position is ours.
        plain = self._window == 1 and self._buckets is None
        tells = plain and hasattr(items, "get_state")
        if tells and place is not None:
            _set_place(items, place)
            first = 0
        groups = self._groups(_shuffled(items, self._window, [*self._seed, epoch]))
        for found, length in itertools.islice(groups, first, None):
            rows, mask = rows_of(np.arange(len(found)), self._size, self._share, padded)
            chosen = [found[i] for i in rows]
            batch = self._stream.collate(chosen) if length is None else self._buckets.collate(chosen, length)  # type: ignore[union-attr]
            yield batch, mask, _place(items) if tells else None

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


def _place(items: Any) -> Any:
    """Where one of Grain's iterators is, JSON-able."""
    state = items.get_state()
    return state.decode() if isinstance(state, bytes) else copy.deepcopy(state)


def _set_place(items: Any, place: Any) -> None:
    """Put one of Grain's iterators where it was; its position is for as many processes as it was taken with."""
    now, then = _processes(items.get_state()), _processes(place)
    if now != then:
        fix = "make Grain's dataset with as many workers as it had"
        raise StructureError(f"{then} worker processes", got=str(now), fix=fix, where="DataLoader.restore")
    items.set_state(place.encode() if isinstance(place, str) else place)


def _processes(state: Any) -> int:
    """How many processes one of Grain's positions speaks of."""
    if not isinstance(state, dict):
        return 0
    return len(state.get("iterators_in_use_states", ())) + sum(map(_processes, state.values()))


def _shuffled(items: Iterator[Any], window: int, seed: list[int]) -> Iterator[Any]:
    """The items in an order by the seed within windows of so many."""
    if window == 1:
        yield from items
        return
    rng = np.random.default_rng(seed)
    while block := list(itertools.islice(items, window)):
        yield from (block[i] for i in rng.permutation(len(block)))
