"""Many small arrays as one: what a rule does component by component, it does to all biases and scales at once.

A compiled step pays about a microsecond for every array that goes in and comes out, whatever its size, and a kernel of
its own for its arithmetic. A small model's state is hundreds of arrays of a few numbers; packed, it is a few vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

MOST = 1024  # elements of what counts as small; of a larger array, copying would cost what is saved
PARTS = 6  # in a vector: XLA's executor wakes another thread for more kernels than this that become ready at once

Named = dict[str, Any]


@dataclass(frozen=True)
class Packing:
    """Which arrays share a vector: its name, and the paths and shapes of its parts in their order."""

    groups: tuple[tuple[str, tuple[tuple[str, tuple[int, ...]], ...]], ...] = ()

    @classmethod
    def of(cls, params: Named, alike: Callable[[str], Hashable]) -> Packing:
        """Pack small arrays of one dtype, in one place, and of one ``alike(path)``; a vector has two parts at least."""
        kinds: dict[Hashable, list[str]] = {}
        places = _places(params)
        for path, value in params.items():
            if value.size <= MOST:
                kinds.setdefault((value.dtype, places.get(path), alike(path)), []).append(path)
        rows = [paths[i : i + PARTS] for paths in kinds.values() for i in range(0, len(paths), PARTS)]
        parts = [tuple((path, params[path].shape) for path in row) for row in rows if len(row) > 1]
        return cls(tuple((f"(small {n})", part) for n, part in enumerate(parts)))

    def vectors(self) -> dict[str, str]:
        """The vector that each packed path is in."""
        return {path: name for name, parts in self.groups for path, _ in parts}

    def pack(self, arrays: Named) -> Named:
        """Arrays by path with the small ones in their vectors."""
        packed = {path: value for path, value in arrays.items() if path not in self.vectors()}
        for name, parts in self.groups:
            packed[name] = jnp.concatenate([arrays[path].reshape(-1) for path, _ in parts])
        return packed

    def unpack(self, packed: Named) -> Named:
        """Arrays by path again; where whole optimisers are stacked, the axes in front stay."""
        arrays = dict(packed)
        for name, parts in self.groups:
            whole = arrays.pop(name)
            starts = accumulate((prod(shape) for _, shape in parts), initial=0)
            arrays |= {path: _cut(whole, start, shape) for (path, shape), start in zip(parts, starts, strict=False)}
        return arrays

    def fits(self, arrays: Named) -> bool:
        """True where no vector would mix dtypes."""
        return all(len({arrays[path].dtype for path, _ in parts}) == 1 for _, parts in self.groups)


def _cut(whole: Any, start: int, shape: tuple[int, ...]) -> Any:
    """A part of a vector, gathered by a table of its places.

    A slice would do; but XLA compiles each slice, with all that is fused to it, as code of its own for its place. What
    gathers by a table is one code for all arrays of a shape: 200 of them compile in 0.4 s in the place of 2.3.
    """
    places = np.arange(start, start + prod(shape), dtype=np.int32)
    part = jnp.take(whole, places, axis=-1, mode="clip", unique_indices=True, indices_are_sorted=True)
    return part.reshape(*whole.shape[:-1], *shape)


def _places(params: Named) -> dict[str, Hashable]:
    """Where arrays lie, by path, as which devices hold them at all; nothing where all lie in one place.

    How they are cut over these devices does not count: so a model is packed alike on one device and however it is
    spread, and a file of an optimiser's state fits all of them. What is traced lies nowhere yet: a model that is half
    traced, as in ``px.vmap``, is packed as a model outside.
    """
    known = {path: v for path, v in params.items() if isinstance(v, jax.Array) and not isinstance(v, Tracer)}
    places: dict[str, Hashable] = {path: frozenset(v.sharding.device_set) for path, v in known.items()}
    return places if len(set(places.values())) > 1 else {}
