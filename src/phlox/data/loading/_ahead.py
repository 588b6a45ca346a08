"""Batches made ahead by a thread, and put on the device there, while the last one is used."""

from __future__ import annotations

import atexit
import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from phlox.core import DtypeError, warn_once

_END = object()
_running: weakref.WeakSet[Ahead] = weakref.WeakSet()


class Ahead:
    """An iterator whose items are made by a thread, at most ``count`` ahead; errors are raised where it is read.

    The first item is made by who reads it: they wait for it anyway, and else for the thread to let go of Python too.
    """

    def __init__(self, items: Iterable[Any], count: int):
        self._items, self._error = iter(items), None
        self._made: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room, self._stopped = threading.Semaphore(count), False
        self._thread: threading.Thread | None = None

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._work, name="phlox loader", daemon=True)
        _running.add(self)
        self._thread.start()

    def _work(self) -> None:
        try:
            for item in self._items:
                self._made.put(item)
                self._room.acquire()
                if self._stopped:
                    break
        except BaseException as error:
            self._error = error
        self._made.put(_END)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._thread is None:
            first = next(self._items)
            self._start()
            return first
        item = self._made.get()
        if item is not _END:
            self._room.release()
            return item
        self._made.put(_END)  # whoever asks again gets the same answer
        if self._error is not None:
            raise self._error
        raise StopIteration

    def close(self) -> None:
        """End the thread; the items that it made are lost."""
        self._stopped = True
        if self._thread is not None:
            self._room.release()
            self._thread.join()


@atexit.register
def _close_all() -> None:
    """A thread inside JAX while the interpreter is taken down would end it with an error."""
    for ahead in list(_running):
        ahead.close()


def placer(device: Any) -> Callable[[Any], Any]:
    """A function that puts the arrays of a batch on a device, or lays them out by a sharding.

    Arrays that JAX has no dtype for, such as strings, stay as they are.
    """
    if isinstance(device, jax.sharding.Sharding) and not device.is_fully_addressable:

        def place(arrays: list[Any]) -> list[Any]:
            return [jax.make_array_from_process_local_data(device, a) for a in arrays]
    else:

        def place(arrays: list[Any]) -> list[Any]:
            return jax.device_put(arrays, device)

    def put(tree: Any) -> Any:
        leaves, form = jax.tree.flatten(tree)
        leaves = [leaf if isinstance(leaf, jax.Array) else np.asarray(leaf) for leaf in leaves]
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array) or leaf.dtype.kind not in "OSUMmT"]
        for i, array in zip(places, place([_narrow(leaves[i]) for i in places]), strict=True):
            leaves[i] = array
        return jax.tree.unflatten(form, leaves)

    return put


def on_host(tree: Any) -> Any:
    """A batch as NumPy arrays of the dtypes that it has on a device."""
    found = jax.tree.map(np.asarray, tree)
    return jax.tree.map(lambda leaf: leaf if leaf.dtype.kind in "OSUMmT" else _narrow(leaf), found)


def _narrow(array: Any) -> Any:
    """64-bit numbers as 32-bit ones where JAX has no others; refused where a whole number would wrap."""
    dtype = jax.dtypes.canonicalize_dtype(array.dtype) if array.dtype.itemsize >= 8 else array.dtype
    if dtype == array.dtype or isinstance(array, jax.Array):
        return array
    found = array.astype(dtype)
    if array.dtype.kind in "iu" and not np.array_equal(found, array):
        fix = 'make them smaller, or call jax.config.update("jax_enable_x64", True)'
        raise DtypeError(f"integers that fit {dtype}", got=f"{array.dtype} beyond it", fix=fix, where="DataLoader")
    if array.dtype.kind in "fc":
        warn_once(
            "narrow DataLoader",
            f"DataLoader: NumPy {array.dtype} becomes {dtype} because JAX's 64-bit mode is off; convert the data "
            f'with .astype("{dtype}"), or call jax.config.update("jax_enable_x64", True).',
        )
    return found
