"""Which observations are in which batch: a function of the seed, the epoch and the batch alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from phlox.core import RangeError, is_key
from phlox.data._shuffling import generator

Shard = tuple[int, int]


@dataclass(frozen=True)
class Share:
    """Which of the ``count`` equal parts of each batch a process gets; others may get them too."""

    parts: tuple[int, ...]
    count: int
    whole_masks: bool = False  # masks are of whole batches, whatever rows come


class Take(NamedTuple):
    """The observations of one batch of one process."""

    rows: np.ndarray  # (rows,) observations; those that only fill up repeat real ones
    mask: np.ndarray  # (rows,) true for real observations
    length: int | None  # what sequences are padded to


def seed_words(seed: Any) -> list[int]:
    """A seed, a whole number or a JAX key, as whole numbers."""
    generator(seed, "DataLoader")  # refuses what is neither
    if is_key(seed):
        import jax

        return np.asarray(jax.random.key_data(seed)).ravel().tolist()
    return [int(seed)]


def rows_of(index: np.ndarray, size: int, share: Share, padded: bool) -> tuple[np.ndarray, np.ndarray]:
    """This process's rows of a batch of all processes, and which of them are real.

    ``padded`` fills a short batch up to ``size`` by repeating its observations from the start.
    """
    mask = np.ones(len(index), bool)
    if padded and len(index) < size:
        mask = np.arange(size) < len(index)
        index = np.resize(index, size)
    if share.count == 1:
        return index, mask
    edges = [n * len(index) // share.count for n in range(share.count + 1)]
    own = np.concatenate([np.arange(edges[part], edges[part + 1]) for part in share.parts])
    return index[own], mask if share.whole_masks else mask[own]


class Order:
    """The batches of every epoch of ``count`` observations.

    Arguments:
        count: how many observations there are.
        size: how many a batch holds, over all processes.
        seed: words of the seed; None keeps the order.
        drop_last: leave batches out that are not full.
        share: which rows of each batch come.
        buckets: for each observation the number of its bucket, and the length of each bucket; None is no buckets.
    """

    def __init__(
        self,
        count: int,
        size: int,
        seed: list[int] | None,
        drop_last: bool,
        share: Share,
        buckets: tuple[np.ndarray, np.ndarray] | None = None,
    ):
        self.count, self.size, self.share = count, size, share
        self._seed, self._drop_last, self._buckets = seed, drop_last, buckets
        sizes = [count] if buckets is None else np.bincount(buckets[0], minlength=len(buckets[1])).tolist()
        self.batches = sum(n // size if drop_last else -(-n // size) for n in sizes)
        self.partial = not drop_last and any(n % size for n in sizes)
        self.left_out = sum(n % size for n in sizes) if drop_last else 0  # observations of an epoch
        self._epoch, self._known = -1, (np.arange(0), [])

    def take(self, epoch: int, number: int, padded: bool) -> Take:
        """The observations of a batch of an epoch."""
        if epoch != self._epoch:
            self._known, self._epoch = self._laid_out(epoch), epoch
        order, cuts = self._known
        if self._buckets is None:
            found, length = order[number * self.size : (number + 1) * self.size], None
        else:
            start, stop, bucket = cuts[number]
            found, length = order[start:stop], int(self._buckets[1][bucket])
        return Take(*rows_of(found, self.size, self.share, padded), length)

    def _laid_out(self, epoch: int) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
        """The order of an epoch; with buckets, also where each batch starts and stops in it, and its bucket."""
        order = np.arange(self.count)
        if self._seed is not None:
            np.random.default_rng([*self._seed, epoch]).shuffle(order)
        if self._buckets is None:
            return order, []
        bucket = self._buckets[0][order]
        sorted_by = np.argsort(bucket, kind="stable")
        cuts, start = [], 0
        for number, count in enumerate(np.bincount(bucket).tolist()):
            for first in range(start, start + count, self.size):
                stop = min(first + self.size, start + count)
                if stop - first == self.size or not self._drop_last:
                    cuts.append((first, stop, number))
            start += count
        # A batch comes when its last observation does; those that stay short come at the end.
        cuts.sort(key=lambda cut: (cut[1] - cut[0] < self.size, sorted_by[cut[1] - 1]))
        return order[sorted_by], cuts


def checked_shard(shard: Any) -> Shard:
    """(index, count) of this process; None asks JAX.

    Raises:
        RangeError: not an index below a count.
    """
    if shard is None:
        import jax

        return jax.process_index(), jax.process_count()
    numbers = tuple(shard) if isinstance(shard, (tuple, list)) else ()
    if len(numbers) != 2 or not all(isinstance(n, int) for n in numbers) or not 0 <= numbers[0] < numbers[1]:
        fix = "give (0, 1) for all data, (jax.process_index(), jax.process_count()) for a share in each process"
        raise RangeError("shard as (index, count), index below count", got=repr(shard), fix=fix, where="DataLoader")
    return numbers[0], numbers[1]
