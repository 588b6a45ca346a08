"""The rows of a batch that this process gives, and the array that all processes make of theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from phlox.core import ShapeError, describe


def parts_here(mesh: Mesh, axes: Sequence[str]) -> tuple[tuple[int, ...], int]:
    """Which of the equal parts of a batch, cut along these axes, this process's devices work on; how many there are.

    Of two processes whose devices work on one part, both give it.

    >>> from phlox.parallel import mesh
    >>> parts_here(mesh(data=1), ("data",))
    ((0,), 1)
    """
    return tuple(sorted(devices_by_part(mesh, axes))), math.prod(mesh.shape[name] for name in axes)


def devices_by_part(mesh: Mesh, axes: Sequence[str]) -> dict[int, list[str]]:
    """The devices of this process, in words, by the part of a batch that they work on: see ``parts_here``.

    >>> from phlox.parallel import mesh
    >>> list(devices_by_part(mesh(data=1), ("data",)))
    [0]
    """
    names = mesh.axis_names
    sizes = [mesh.shape[name] for name in axes]
    here: dict[int, list[str]] = {}
    for place in np.ndindex(mesh.devices.shape):
        device: Any = mesh.devices[place]
        if device.process_index == jax.process_index():
            along = tuple(place[names.index(name)] for name in axes)
            part = int(np.ravel_multi_index(along, sizes)) if sizes else 0
            here.setdefault(part, []).append(f"{device.platform}:{device.id}")
    return here


def own_rows(leaf: Any, parts: Sequence[int], count: int) -> Any:
    """This process's rows of an array that every process has whole; scalars are of all.

    Raises:
        ShapeError: rows that do not make parts of one size.

    >>> own_rows(np.arange(6), (1,), 3).tolist()
    [2, 3]
    """
    if not np.ndim(leaf) or count == 1:
        return leaf
    host = np.asarray(leaf)
    if len(host) % count:
        raise uneven_batch(host, 0, count)
    return host.reshape(count, -1, *host.shape[1:])[list(parts)].reshape(-1, *host.shape[1:])


def uneven_batch(leaf: Any, axis: int, parts: int) -> ShapeError:
    """What to raise for an array whose first axis, or second one of time, does not make so many equal parts."""
    what = "batches" if axis == 0 else "sequences"
    fix = "choose a multiple as batch_size; a px.DataLoader fills up the last batch, or drops it"
    return ShapeError(
        f"{what} that {parts} devices share evenly",
        got=describe(leaf),
        fix=fix if axis == 0 else "pad the sequences to a multiple",
        where="px.parallel",
    )


def assembled(leaf: Any, where: NamedSharding, parts: Sequence[int], count: int) -> jax.Array:
    """The array of all processes' rows, of which this one gives those of ``parts``, in their order."""
    host = np.asarray(leaf)
    if not host.ndim:
        return jax.make_array_from_callback((), where, lambda index: host[index])
    size = len(host) // len(parts)
    starts = {part * size: n * size for n, part in enumerate(parts)}

    def piece(index: Any) -> Any:
        at = starts[index[0].start or 0]
        return host[(slice(at, at + size), *index[1:])]

    return jax.make_array_from_callback((size * count, *host.shape[1:]), where, piece)
