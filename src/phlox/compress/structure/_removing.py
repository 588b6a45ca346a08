"""Arrays cut, or zero in the same places; and the proof that the one computes what the other does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from phlox.compress.structure._sizes import adapt_sizes
from phlox.core import Module, StructureError, copy, jit, set_at, state_dict
from phlox.nn import reference_forms

M = TypeVar("M", bound=Module)
Gone = Mapping[tuple[str, int], Sequence[int]]
"""The indices that go, by an array's path and an axis."""
_CLOSE = {4: 1e-3, 2: 5e-2}
"""By the bytes of a number, how far apart results may be, as a share of the largest."""


def without(model: M, gone: Gone) -> M:
    """A copy of a model with these indices removed, whose layers know their new sizes."""
    twin = copy(model)
    arrays = dict(state_dict(twin))
    for (path, axis), indices in gone.items():
        kept = np.setdiff1d(np.arange(arrays[path].shape[axis]), indices)
        arrays[path] = jnp.take(arrays[path], kept, axis)
    for path in {path for path, _ in gone}:
        set_at(twin, path, arrays[path])
    adapt_sizes(twin)
    return twin


def zeroed(model: M, gone: Gone) -> M:
    """A copy of a model with zeros at these indices."""
    twin = copy(model)
    arrays = dict(state_dict(twin))
    for (path, axis), indices in gone.items():
        array = np.array(arrays[path])  # on the host, where no program is compiled for its shape
        array[(slice(None),) * axis + (np.asarray(indices),)] = 0
        arrays[path] = jax.device_put(array, arrays[path].sharding)
    for path in {path for path, _ in gone}:
        set_at(twin, path, arrays[path])
    return twin


def check_same(small: Module, masked: Module, inputs: Sequence[Any], speaker: str) -> None:
    """Refuse a model that computes something else than the one with zeros in the same places, or nothing at all.

    Raises:
        StructureError: it does.
    """
    fix = "leave these layers out by skip=, or let their sizes follow from shapes of arrays"
    run = jit(lambda small, masked, *inputs: (small(*inputs), masked(*inputs)), donate=False)
    try:
        with reference_forms():
            ours, wanted = run(small, masked, *inputs)
    except Exception as error:
        got = str(error).splitlines()[0][:200]
        raise StructureError("a model that runs with smaller arrays", got=got, fix=fix, where=speaker) from error
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(wanted), strict=True):
        if jnp.issubdtype(b.dtype, jnp.inexact):
            off, most = float(jnp.abs(a - b).max()), float(jnp.abs(b).max())
            if not off <= _CLOSE.get(b.dtype.itemsize, 1e-3) * most:
                got = f"results that differ by {off:.3g} of {most:.3g}"
                expected = "a model that computes with smaller arrays what it does with zeros"
                raise StructureError(expected, got=got, fix=fix, where=speaker)
