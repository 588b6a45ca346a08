"""Arrays of a file written into a model: file by file, turned and cut as views, copied once on their way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from phlox.core import DtypeError, Module, load_state_dict, state_dict
from phlox.weights._on_device import device_arrays
from phlox.weights.matching._slots import Slot
from phlox.weights.readers._arrays import Arrays


def place(model: Module, slots: list[Slot], arrays: Mapping[str, Any]) -> dict[str, str]:
    """Fill the model's arrays, in its dtypes; say which of them were converted.

    Raises:
        DtypeError: numbers that the model's dtype cannot hold, such as complex ones for a real array.
    """
    old = state_dict(model)
    found = {slot.ours: _dtype(arrays, slot.theirs[0]) for slot in slots}
    changed = {slot.ours: old[slot.ours].dtype for slot in slots if found[slot.ours] != old[slot.ours].dtype}
    converted = {slot.ours: _conversion(slot, found[slot.ours], old[slot.ours].dtype) for slot in slots
                 if slot.ours in changed}  # fmt: skip
    load_state_dict(model, device_arrays(_turned(old, slots, arrays), dtype=changed), strict=False)
    return converted


def _turned(old: Mapping[str, Any], slots: Iterable[Slot], arrays: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Paths and arrays as ours look, in the order of the file; what is stacked is given when its last layer is read."""
    uses: dict[str, list[tuple[Slot, int]]] = {}
    for slot in slots:
        for i, name in enumerate(slot.theirs):
            uses.setdefault(name, []).append((slot, i))
    stacks: dict[str, list[Any]] = {}
    for name, array in arrays.stream() if isinstance(arrays, Arrays) else arrays.items():
        for slot, i in uses.get(name, ()):
            view = slot.read(np.asarray(array))
            if old[slot.ours].ndim == view.ndim:
                yield slot.ours, view
                continue
            stack = stacks.setdefault(slot.ours, [None] * len(slot.theirs))
            stack[i] = view
            if all(one is not None for one in stack):
                yield slot.ours, np.stack(stacks.pop(slot.ours))


def _dtype(arrays: Mapping[str, Any], name: str) -> np.dtype[Any]:
    return arrays.spec(name).dtype if isinstance(arrays, Arrays) else np.asarray(arrays[name]).dtype


def _conversion(slot: Slot, found: Any, wanted: Any) -> str:
    both_inexact = jnp.issubdtype(found, jnp.inexact) and jnp.issubdtype(wanted, jnp.inexact)
    loses = jnp.issubdtype(found, jnp.complexfloating) and not jnp.issubdtype(wanted, jnp.complexfloating)
    if loses or not (both_inexact or jnp.issubdtype(wanted, found)):
        raise DtypeError(
            f"{np.dtype(wanted).name} for {slot.ours}", got=f"{np.dtype(found).name} at {slot.theirs[0]}",
            fix="convert the array yourself, and say how", where="px.weights.convert",
        )  # fmt: skip
    return f"{np.dtype(found).name} converted to {np.dtype(wanted).name}"
