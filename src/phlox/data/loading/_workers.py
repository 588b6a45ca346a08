"""Worker processes that read batches, by Grain; the order does not depend on how many there are."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from phlox.core import StructureError

_at_work: weakref.WeakSet[Workers] = weakref.WeakSet()


class Worked:
    """The batches of a run over all epochs, as a source for Grain."""

    def __init__(self, read: Any, per_epoch: int, first: int):
        self._read, self._per_epoch, self._first = read, per_epoch, first

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, index: int) -> Any:
        return self._read(*divmod(self._first + int(index), self._per_epoch))

    def __repr__(self) -> str:
        return f"Worked({self._read!r}, from {self._first})"


class Workers:
    """Processes that make batches from one on, epoch after epoch, until closed.

    Arguments:
        read: a function of epoch and batch; it is pickled.
        per_epoch: how many batches an epoch has.
        position: epoch and batch to begin with.
        count: how many processes.
        ahead: how many batches each of them keeps ready.
    """

    def __init__(self, read: Any, per_epoch: int, position: tuple[int, int], count: int, ahead: int):
        import grain

        _flags_are_parsed()
        source = Worked(read, per_epoch, position[0] * per_epoch + position[1])
        options = grain.multiprocessing.MultiprocessingOptions(num_workers=count, per_worker_buffer_size=max(1, ahead))
        rows = grain.MapDataset.source(source).to_iter_dataset(grain.ReadOptions(num_threads=0))
        self._batches: Any = iter(rows.mp_prefetch(options, worker_init_fn=_in_worker))
        self._per_epoch = per_epoch
        _at_work.add(self)
        self.position, self.padded = position, read.padded

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        # Shared memory ends when its last array does, and JAX may keep an array where it lies: copied, it ends here.
        found = jax.tree.map(np.array, next(self._batches))
        epoch, number = self.position
        self.position = (epoch, number + 1) if number + 1 < self._per_epoch else (epoch + 1, 0)
        return found

    def close(self) -> None:
        """End the processes."""
        if self._batches is not None:
            self._batches.close()
            self._batches = None


@atexit.register
def _close_all() -> None:
    """Grain ends processes when its iterators are collected, which is too late while the interpreter is taken down."""
    for workers in list(_at_work):
        workers.close()


def _flags_are_parsed() -> None:
    """Grain reads absl's flags, which nobody parses in a program without absl's main function."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def _in_worker(index: int, count: int) -> None:
    """Leave the accelerators to the parent, and end with it, however it ends."""
    del index, count
    jax.config.update("jax_platforms", "cpu")
    parent = multiprocessing.parent_process()
    if parent is None:
        raise StructureError("a parent process", got="none", fix="start workers through DataLoader", where="DataLoader")

    def end_with_parent() -> None:
        parent.join()
        with contextlib.suppress(BaseException):
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
