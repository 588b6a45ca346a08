"""The loader: batches of data on the device, in an order by the seed, from any position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import jax
import numpy as np

from phlox.core import RangeError, ShapeError, StructureError, answering
from phlox.data._observations import whole
from phlox.data.loading._ahead import Ahead, on_host, placer
from phlox.data.loading._buckets import Buckets
from phlox.data.loading._order import Order, Share, Take, checked_shard, seed_words
from phlox.data.loading._sources import Source, Stream, source_of
from phlox.data.loading._streaming import Streamed
from phlox.data.loading._workers import Workers

Made = tuple[Any, Any, Any]  # a batch, its mask, and the own position of a stream or how many batches a stack has


class DataLoader:
    """Batches of data, on the device: shuffled by a seed, made ahead, resumed at any batch.

    ``for x, y in loader`` is one epoch; the next ``for`` is the next epoch, in another order. The order depends on
    ``seed`` and the epoch alone: it is the same at every run, on every machine, and for every number of workers. A
    batch is built as an observation is: ``(x, y)`` for data ``(X, Y)``, a dict for a dict, an array for an array.

    **The last batch, and the mask.** A last batch that is not full is shorter, unless ``drop_last`` leaves it out.
    ``pad_last=True`` fills it up by repeating its own observations, so that a compiled step is traced once; then
    every item is a pair ``(batch, mask)``, with ``mask`` (batch,) booleans, true for real observations: use it as the
    ``weight`` of losses and metrics. ``loader.masked()`` iterates over such pairs whatever ``pad_last`` is, and
    ``loader.partial`` tells whether any batch needs filling up. ``px.fit`` and its kin use these.

    **The position.** ``loader.state()`` says what was consumed, whatever was made ahead, as JSON; a loader of the same
    settings goes on behind it after ``loader.restore(state)``: its next ``for`` gives the rest of that epoch. The
    number of workers, of batches ahead and of processes may differ.

    **Sequences.** ``bucket_by`` names the parts of an observation that are sequences. Sequences of like length come
    together, each such part as ``px.data.Padded``: values (batch, length, ...) and lengths (batch,), with one of few
    lengths.

    **Processes.** ``batch_size`` counts the observations of all processes of a ``jax.distributed`` run together. Each
    process gets its own rows of every batch, so that they all take the same steps as one process would. In ``px.fit``
    these are the rows that its devices work on, as ``parallel`` has them spread.

    Arguments:
        data: arrays, tensors, frames and tables of pandas, polars and pyarrow, sparse matrices, lists, or tuples and
            dicts of them; datasets of Phlox, Grain, PyTorch and Hugging Face, or anything with a length and an index;
            an iterable that can start over, or a function that gives one, such as a generator function.
        batch_size: observations in a batch.
        shuffle: an order by the seed for each epoch. A stream, which has no index, is shuffled within windows of so
            many observations.
        seed: a whole number, or a JAX key.
        drop_last: leave out batches that are not full.
        pad_last: fill them up, and give pairs of batch and mask.
        collate: makes a batch of a list of observations; by default ``px.data.batch``.
        num_workers: processes that read observations one by one and collate them; 0 reads in this process. Arrays are
            always gathered in this process, a batch at a time: to send them elsewhere would take longer.
        prefetch: batches that a thread makes and puts on the device ahead; 0 makes each when it is asked for.
        bucket_by: a key or a place, or several in a tuple; ``len`` where an observation is itself a sequence.
        buckets: the lengths that sequences are padded to; by default powers of two up to the longest.
        pad_value: what sequences are padded with.
        shard: (index, count) of this process among those that share the data; by default what JAX says, and in
            ``px.fit`` what ``parallel`` does.
        device: a device, or a ``jax.sharding.Sharding``; by default JAX's.

    Raises:
        RangeError: a batch size or a number of workers out of range, a shard that does not divide the batch.
        ShapeError: parts of different numbers. StructureError: data that cannot start over, or no data.

    >>> import numpy as np, phlox as px
    >>> loader = px.DataLoader((np.arange(5), np.arange(5) * 10), 2)
    >>> [x.tolist() for x, y in loader]
    [[0, 1], [2, 3], [4]]
    >>> for (x, y), mask in loader.masked():
    ...     print(y.tolist(), mask.tolist())
    [0, 10] [True, True]
    [20, 30] [True, True]
    [40, 40] [True, False]
    """

    num_workers: int
    prefetch: int
    shuffle: bool | int
    seed: Any
    drop_last: bool
    pad_last: bool

    @answering
    def __init__(
        self,
        data: Any,
        batch_size: int = 32,
        *,
        shuffle: bool | int = False,
        seed: Any = 0,
        drop_last: bool = False,
        pad_last: bool = False,
        collate: Callable[[list[Any]], Any] | None = None,
        num_workers: int = 0,
        prefetch: int = 2,
        bucket_by: Any = None,
        buckets: Sequence[int] | None = None,
        pad_value: Any = 0,
        shard: tuple[int, int] | None = None,
        device: Any = None,
    ):
        where = "DataLoader"
        self.batch_size: int = whole(where, "batch_size", batch_size)
        self.num_workers, self.prefetch = (
            whole(where, "num_workers", num_workers, 0),
            whole(where, "prefetch", prefetch, 0),
        )
        self.shuffle, self.seed, self.drop_last, self.pad_last = shuffle, seed, drop_last, pad_last
        self.device = device
        self.shard: tuple[int, int] = checked_shard(shard)
        self._share = Share((self.shard[0],), self.shard[1])
        self._chosen = shard is not None
        self._on_host = False  # batches stay NumPy arrays
        self._words = seed_words(seed)
        self._buckets = None if bucket_by is None else Buckets(bucket_by, buckets, pad_value)
        self._source = source_of(data, collate)
        self._check(collate)
        self._order: Order | None = None
        self._workers: Workers | None = None
        self._epoch, self._batch, self._place = 0, 0, None  # what was consumed
        self._begun = False  # whether the epoch that the position is in was iterated over

    def _check(self, collate: Any) -> None:
        where = "DataLoader"
        if self._chosen:
            self._check_size(self._share.count)
        if self.drop_last and self.pad_last:
            fix = "a batch that is dropped is not filled up: give one of them"
            raise RangeError("drop_last or pad_last", got="both", fix=fix, where=where)
        if self._buckets is not None and collate is not None:
            fix = "bucket_by pads and collates; change observations with px.data.mapobs"
            raise RangeError("bucket_by or collate", got="both", fix=fix, where=where)
        if not isinstance(self._source, Stream):
            if not isinstance(self.shuffle, (bool, np.bool_)):
                fix = "windows are for streams; data with an index is shuffled as a whole"
                raise RangeError("shuffle to be True or False", got=repr(self.shuffle), fix=fix, where=where)
            return
        if self.shuffle is True:
            fix = "give the number of observations to shuffle among each other, such as shuffle=10_000"
            raise RangeError("a window to shuffle a stream in", got="shuffle=True", fix=fix, where=where)
        if self._buckets is not None and self._buckets.lengths is None:
            fix = "give buckets=, the lengths to pad to: a stream does not tell how long its longest is"
            raise RangeError("lengths to pad the sequences of a stream to", got="None", fix=fix, where=where)
        if self.num_workers:
            fix = "give num_workers=0, or data with a length and an index; Grain's datasets have mp_prefetch"
            raise RangeError("no workers for a stream", got=f"num_workers={self.num_workers}", fix=fix, where=where)

    # --- what it holds ------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many batches an epoch has."""
        if isinstance(self._source, Stream):
            raise TypeError("a DataLoader over a stream has no length: the stream does not tell how long it is")
        return self._laid_out.batches

    @property
    def partial(self) -> bool:
        """Whether some batch may hold fewer than ``batch_size`` real observations."""
        return not self.drop_last if isinstance(self._source, Stream) else self._laid_out.partial

    @property
    def epoch(self) -> int:
        """The epoch that the last batch was of, from 0."""
        return self._epoch

    @property
    def _laid_out(self) -> Order:
        if self._order is None:
            source: Any = self._source
            words, buckets = self._words if self.shuffle else None, self._buckets
            numbers = None
            if buckets is not None:
                lengths = [buckets.length(item) for item in source.items(np.arange(len(source)))]
                found = buckets.number(lengths)
                numbers = found, buckets.lengths
            self._order = Order(len(source), self.batch_size, words, self.drop_last, self._share, numbers)  # type: ignore[arg-type]
        return self._order

    def __repr__(self) -> str:
        shown = "a stream" if isinstance(self._source, Stream) else f"{len(self._source)} observations"
        return f"DataLoader({shown}, batch_size={self.batch_size}, shuffle={self.shuffle}, seed={self.seed})"

    # --- iteration ----------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        """The batches of the next epoch, or of the rest of the one that was restored."""
        if self.pad_last:
            return self.masked()
        if self._share.count > 1 and self.partial:
            fix = "give drop_last=True or pad_last=True, or iterate over loader.masked()"
            what = f"full batches for each of {self._share.count} processes"
            raise RangeError(what, got="a last batch that is not full", fix=fix, where="DataLoader")
        return (batch for batch, _ in self._pass(self._begin(), padded=False))

    def masked(self) -> Iterator[tuple[Any, jax.Array]]:
        """Pairs of a full batch and its mask, true for real observations; else as ``iter(loader)``."""
        return self._pass(self._begin(), padded=True)

    def coming(self) -> np.ndarray | None:
        """(rows,) which observations the next pass gives, in its order; None of a stream, which does not tell.

        With ``drop_last`` those are missing that the epoch leaves out.

        >>> import numpy as np, phlox as px
        >>> loader = px.DataLoader(np.arange(6), 2, shuffle=True)
        >>> rows = loader.coming()
        >>> bool((np.concatenate(list(loader)) == rows).all())
        True
        """
        if isinstance(self._source, Stream):
            return None
        epoch, first = (self._epoch + 1, 0) if self._begun else (self._epoch, self._batch)
        order = self._laid_out
        rows = [order.take(epoch, number, False).rows for number in range(first, order.batches)]
        return np.concatenate([np.arange(0), *rows])

    @property
    def leaves_out(self) -> int:
        """How many observations of an epoch are in none of its batches, by ``drop_last``; 0 of a stream, unknown."""
        return 0 if isinstance(self._source, Stream) else self._laid_out.left_out

    @property
    def keeps_order(self) -> bool:
        """Whether observations come as they lie in the data: neither shuffled nor put together by length."""
        return not self.shuffle and self._buckets is None

    # --- many batches in one array ------------------------------------------------------------------

    @property
    def stackable(self) -> bool:
        """Whether ``stacked`` can gather many batches at once: arrays in memory, for one device."""
        spread = isinstance(self.device, jax.sharding.Sharding)
        return not isinstance(self._source, Stream) and self._source.in_memory and self._buckets is None and not spread

    def example(self, *, padded: bool = False) -> tuple[Any, Any]:
        """The first batch of the first epoch and its mask, as NumPy arrays; nothing is consumed."""
        assert not isinstance(self._source, Stream)
        return Reading(self._source, self._laid_out, self._buckets, padded)(0, 0)

    def stacked(self, count: int, *, padded: bool = False) -> Iterator[tuple[Any, Any, int, int]]:
        """As iterating, or as ``masked()``, where ``stackable``: the same batches, gathered ``count`` at a time.

        Items are ``(batches, masks, number, place)``: arrays (count, batch, ...) with ``number`` batches in them, and
        the place of the one that is consumed with this item. What lies behind the last batch has no meaning.
        """
        epoch, first, _ = self._begin()
        made = self._on_device(self._stacks(epoch, first, count, padded), self._placer(), True)
        return self._places(Ahead(made, 1) if self.prefetch else made, epoch, first)

    def _stacks(self, epoch: int, first: int, count: int, padded: bool) -> Iterator[Made]:
        read = Reading(self._source, self._laid_out, self._buckets, padded)  # type: ignore[arg-type]
        whole = self._laid_out.batches - (self._laid_out.partial and not padded)
        for start in range(first, whole, count):
            numbers = range(start, min(start + count, whole))
            yield *read.stacked(epoch, numbers, count), len(numbers)
        if max(first, whole) < self._laid_out.batches:  # a batch that is not full, alone
            yield *read.stacked(epoch, range(whole, whole + 1), 1), 1

    def _places(self, stacks: Any, epoch: int, batch: int) -> Iterator[tuple[Any, Any, int, int]]:
        try:
            for batches, masks, number in stacks:
                for place in range(number):
                    batch += 1
                    self._epoch, self._batch, self._place = epoch, batch, None
                    yield batches, masks, number, place
        finally:
            stacks.close()

    # --- one pass -----------------------------------------------------------------------------------

    def _check_size(self, count: int) -> None:
        if self.batch_size % count:
            fix = "batch_size counts all processes together: give a multiple"
            what = f"a batch_size that {count} processes can share"
            raise RangeError(what, got=str(self.batch_size), fix=fix, where="DataLoader")

    def _begin(self) -> tuple[int, int, Any]:
        self._check_size(self._share.count)
        if self._begun:
            self._epoch, self._batch, self._place = self._epoch + 1, 0, None
        self._begun = True
        return self._epoch, self._batch, self._place

    def _pass(self, start: tuple[int, int, Any], padded: bool) -> Iterator[tuple[Any, Any]]:
        epoch, batch, _ = start
        made = self._on_device(self._made(start, padded), self._placer(), padded)
        items: Any = Ahead(made, self.prefetch) if self.prefetch else made
        try:
            for number, (found, mask, place) in enumerate(items, batch + 1):
                self._epoch, self._batch, self._place = epoch, number, place
                yield found, mask
        finally:
            items.close()

    def _placer(self) -> Callable[[Any], Any]:
        """What puts a batch on its device; asked in the caller's thread, where ``jax.default_device`` is seen."""
        if self._on_host:
            return on_host
        return placer(self.device if self.device is not None else jax.config.jax_default_device)  # type: ignore[attr-defined]

    def _on_device(self, made: Iterator[Made], put: Callable[[Any], Any], padded: bool) -> Iterator[Made]:
        for batch, mask, place in made:
            batch, mask = put((batch, mask)) if padded else (put(batch), None)
            yield batch, mask, place

    def _made(self, start: tuple[int, int, Any], padded: bool) -> Iterator[Made]:
        """Batches as NumPy arrays from a position to the end of its epoch."""
        epoch, first, place = start
        if isinstance(self._source, Stream):
            window = int(self.shuffle) or 1
            streamed = Streamed(
                self._source, self.batch_size, window, self._words, self.drop_last, self._share, self._buckets
            )
            yield from streamed.batches(epoch, first, place, padded)
            return
        read = Reading(self._source, self._laid_out, self._buckets, padded)
        if self.num_workers and not self._source.in_memory:
            workers = self._at_work(read, (epoch, first))
            for _ in range(first, self._laid_out.batches):
                yield *next(workers), None
        else:
            for number in range(first, self._laid_out.batches):
                yield *read(epoch, number), None

    def _at_work(self, read: Reading, position: tuple[int, int]) -> Workers:
        """The workers at a position: those of the last epoch, where they are there, else new ones."""
        if self._workers is not None and (self._workers.position != position or self._workers.padded != read.padded):
            self.close()
        if self._workers is None:
            ahead = -(-max(1, self.prefetch) // self.num_workers)
            self._workers = Workers(read, self._laid_out.batches, position, self.num_workers, ahead)
        return self._workers

    def close(self) -> None:
        """End the worker processes; the next epoch starts new ones."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- several processes --------------------------------------------------------------------------

    @property
    def shard_given(self) -> bool:
        """Whether ``shard`` said that this process gets a part of the rows."""
        return self._chosen and self.shard[1] > 1

    @contextmanager
    def sharing(self, parts: Sequence[int], count: int) -> Iterator[None]:
        """Within the block, each batch is of these of its ``count`` equal parts alone, as NumPy arrays.

        Masks are then those of whole batches, so that each process knows how many observations they all have. The
        position is one for all parts.

        Raises:
            RangeError: the batches cannot be cut into so many parts, or ``shard`` says otherwise.
        """
        share = Share(tuple(parts), count, True)
        self._check_size(count)
        self._check_share(share)
        before = self._share, self._on_host
        self._take_share(share, True)
        try:
            yield
        finally:
            self._take_share(*before)

    def _take_share(self, share: Share, on_host: bool) -> None:
        self.close()  # workers were told of the other share
        self._share, self._on_host = share, on_host
        if self._order is not None:
            self._order.share = share

    def _check_share(self, share: Share) -> None:
        if self.shard_given and (share.parts, share.count) != (self._share.parts, self._share.count):
            fix = "leave shard out: px.fit finds the rows of each process by parallel"
            what = f"parts {', '.join(map(str, share.parts))} of {share.count}, those of this process's devices"
            raise RangeError(what, got=f"shard={self.shard}", fix=fix, where="DataLoader")

    # --- position -----------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The position behind the last batch that was consumed, and the settings it depends on; JSON-able."""
        return {"epoch": self._epoch, "batch": self._batch, "place": self._place, "settings": self._settings()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to a position; the next ``for`` gives the rest of its epoch.

        Raises:
            StructureError: the state of a loader of other settings.
        """
        settings, theirs = self._settings(), state.get("settings") if isinstance(state, dict) else None
        if not isinstance(theirs, dict) or theirs.keys() != settings.keys():
            got = f"keys {sorted(state)}" if isinstance(state, dict) else type(state).__name__
            fix = "give what state() of a loader returned"
            raise StructureError("the state of a DataLoader", got=got, fix=fix, where="DataLoader.restore")
        if settings != theirs:
            names = [name for name in settings if settings[name] != theirs[name]]
            raise StructureError(
                "the state of a loader of the same " + ", ".join(names),
                got="; ".join(f"{name} {theirs[name]}, here {settings[name]}" for name in names),
                fix="make the loader as it was when the state was taken",
                where="DataLoader.restore",
            )
        self._epoch, self._batch, self._place = int(state["epoch"]), int(state["batch"]), state["place"]
        self._begun = False

    def _settings(self) -> dict[str, Any]:
        """What the order of observations depends on."""
        buckets = self._buckets
        if buckets is not None and buckets.lengths is None:
            _ = self._laid_out  # chooses the lengths
        return {
            "observations": None if isinstance(self._source, Stream) else len(self._source),
            "batch_size": self.batch_size,
            "shuffle": int(self.shuffle),
            "seed": self._words,
            "drop_last": bool(self.drop_last),
            "buckets": None if buckets is None else buckets.lengths.tolist(),  # type: ignore[union-attr],
        }


class Reading:
    """Batch of an epoch as NumPy arrays, and its mask; what a worker process is given."""

    def __init__(self, source: Source, order: Order, buckets: Buckets | None, padded: bool):
        self._source, self._order, self._buckets, self.padded = source, order, buckets, padded

    def __call__(self, epoch: int, number: int) -> tuple[Any, np.ndarray]:
        take = self._order.take(epoch, number, self.padded)
        return self._read(take), take.mask

    def stacked(self, epoch: int, numbers: range, count: int) -> tuple[Any, np.ndarray]:
        """Full batches in one array, filled up to ``count`` with the first of them, and their masks."""
        takes = [self._order.take(epoch, number, self.padded) for number in numbers]
        places = np.arange(count) % len(takes)
        rows, masks = np.stack([take.rows for take in takes])[places], np.stack([take.mask for take in takes])[places]
        return self._source.read(rows), masks

    def _read(self, take: Take) -> Any:
        if self._source.in_memory and self._buckets is None:
            return self._source.read(take.rows)
        distinct = {row: place for place, row in enumerate(dict.fromkeys(take.rows.tolist()))}
        rows = np.array(list(distinct))  # what only fills up is not read again
        if self._buckets is not None:
            batch = self._buckets.collate(self._source.items(rows), take.length)  # type: ignore[arg-type]
        else:
            batch = self._source.read(rows)
        if len(rows) == len(take.rows):
            return batch
        places = np.array([distinct[row] for row in take.rows.tolist()])
        return jax.tree.map(lambda leaf: _filled_up(np.asarray(leaf), len(rows), places), batch)


def _filled_up(leaf: np.ndarray, real: int, places: np.ndarray) -> np.ndarray:
    if leaf.shape[:1] != (real,):
        fix = "let collate put the batch first in every array, or give drop_last=True"
        got = f"{leaf.dtype}{list(leaf.shape)}"
        raise ShapeError(f"arrays of ({real}, ...) to fill up to {len(places)}", got=got, fix=fix, where="DataLoader")
    return np.take(leaf, places, axis=0)
