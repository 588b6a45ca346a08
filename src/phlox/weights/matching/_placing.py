"""Arrays of a file written into a model: file by file, turned and cut as views, copied once on their way.

Onto several devices each device's part is read by itself: a process reads what its own devices hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from phlox.core import DtypeError, Module, StructureError, load_state_dict, state_dict
from phlox.weights._on_device import device_arrays, spread_arrays
from phlox.weights.matching._slots import Slot
from phlox.weights.readers._arrays import Arrays


def place(
    model: Module, slots: list[Slot], arrays: Mapping[str, Any], *, where: Mapping[str, Sharding] | None = None
) -> dict[str, str]:
    """Fill the model's arrays, in its dtypes; say which of them were converted.

    Arguments:
        where: by path, over which devices an array is spread; None for the one of JAX.

    Raises:
        DtypeError: numbers that the model's dtype cannot hold, such as complex ones for a real array.
    """
    wanted = {path: array.dtype for path, array in state_dict(model).items()}
    changed, converted = {}, {}
    for slot in slots:
        kinds = {_dtype(arrays, name): name for name in slot.theirs}
        for kind, name in kinds.items():
            if kind != wanted[slot.ours]:
                changed[slot.ours] = wanted[slot.ours]
                converted[slot.ours] = _conversion(slot, name, kind, wanted[slot.ours])
    if where is None:
        found = device_arrays(((path, np.asarray(view)) for path, view in _turned(slots, arrays)), dtype=changed)
    else:
        found = spread_arrays(_turned(slots, arrays), where, changed)
    loaded = load_state_dict(model, found, strict=False)
    if loaded.mismatched:  # slots are checked by shape and dtype: no file leads here
        raise StructureError("arrays of the model's shapes and dtypes", got=str(loaded), where="px.weights.convert")
    return converted


def _turned(slots: Iterable[Slot], arrays: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Paths and arrays as ours look, in the order of the file; what is stacked is given when its last layer is read."""
    uses: dict[str, list[tuple[Slot, int]]] = {}
    for slot in slots:
        for i, name in enumerate(slot.theirs):
            uses.setdefault(name, []).append((slot, i))
    stacks: dict[str, list[Any]] = {}  # of views
    for name, array in arrays.stream() if isinstance(arrays, Arrays) else arrays.items():
        for slot, i in uses.get(name, ()):
            view = slot.read(np.asarray(array))
            if not slot.apart:
                yield slot.ours, view
                continue
            stack = stacks.setdefault(slot.ours, [None] * len(slot.theirs))
            stack[i] = view
            if all(one is not None for one in stack):
                yield slot.ours, Stack(stacks.pop(slot.ours))


class Stack:
    """Views of equal arrays along a new first axis, of which a part is read by itself."""

    def __init__(self, views: Sequence[np.ndarray]):
        self.views = views
        self.shape: tuple[int, ...] = (len(views), *views[0].shape)

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        return np.stack([view[index[1:]] for view in self.views[index[0]]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.stack(self.views, dtype=dtype)


def _dtype(arrays: Mapping[str, Any], name: str) -> np.dtype[Any]:
    return arrays.spec(name).dtype if isinstance(arrays, Arrays) else np.asarray(arrays[name]).dtype


def _conversion(slot: Slot, name: str, found: Any, wanted: Any) -> str:
    """What is converted, in words; device_arrays refuses whole numbers that the smaller kind cannot hold."""
    real = not jnp.issubdtype(found, jnp.complexfloating) or jnp.issubdtype(wanted, jnp.complexfloating)
    alike = any(jnp.issubdtype(found, kind) and jnp.issubdtype(wanted, kind) for kind in (jnp.inexact, jnp.integer))
    if not (real and alike):
        raise DtypeError(
            f"{np.dtype(wanted).name} for {slot.ours}", got=f"{np.dtype(found).name} at {name}",
            fix="convert the array yourself, and say how", where="px.weights.convert",
        )  # fmt: skip
    return f"{np.dtype(found).name} converted to {np.dtype(wanted).name}"
