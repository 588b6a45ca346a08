"""Arrays of a file written into a model: views are turned and cut, and copied once on their way to the device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from phlox.core import DtypeError, Module, load_state_dict, state_dict
from phlox.weights.matching._slots import Slot


def place(model: Module, slots: Iterable[Slot], arrays: Mapping[str, Any]) -> dict[str, str]:
    """Fill the model's arrays, in its dtypes; say which of them were converted.

    Raises:
        DtypeError: numbers that the model's dtype cannot hold, such as complex ones for a real array.
    """
    old, new, converted = state_dict(model), {}, {}
    for slot in slots:
        pieces = slot.read(lambda name: np.asarray(arrays[name]))
        found, wanted = pieces[0].dtype, old[slot.ours].dtype
        if found != wanted:
            converted[slot.ours] = _conversion(slot, found, wanted)
        stacked = np.stack(pieces) if len(slot.theirs) > 1 else pieces[0]
        new[slot.ours] = jnp.array(stacked.astype(wanted, copy=False)).reshape(old[slot.ours].shape)
    load_state_dict(model, new, strict=False)
    return converted


def _conversion(slot: Slot, found: Any, wanted: Any) -> str:
    both_inexact = jnp.issubdtype(found, jnp.inexact) and jnp.issubdtype(wanted, jnp.inexact)
    loses = jnp.issubdtype(found, jnp.complexfloating) and not jnp.issubdtype(wanted, jnp.complexfloating)
    if loses or not (both_inexact or jnp.issubdtype(wanted, found)):
        raise DtypeError(
            f"{np.dtype(wanted).name} for {slot.ours}", got=f"{np.dtype(found).name} at {slot.theirs[0]}",
            fix="convert the array yourself, and say how", where="px.weights.convert",
        )  # fmt: skip
    return f"{np.dtype(found).name} converted to {np.dtype(wanted).name}"
