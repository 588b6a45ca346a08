"""A formula on one array: numbers of 16 and of 8 bits as float32 and back, complex numbers as their two parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.optim.rules._blocks import Blocks

Slots = dict[str, Any]
Formula = Callable[[jax.Array, jax.Array, Slots, Any], tuple[Any, Slots]]


def wide(dtype: Any) -> Any:
    """The dtype that arithmetic is done in: float32 where 16 bits would overflow in a square."""
    small = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    return jnp.dtype(jnp.float32) if small else jnp.dtype(dtype)


def widened(x: jax.Array) -> jax.Array:
    """An array in that dtype."""
    return x.astype(wide(x.dtype))


def ascent(grads: Any) -> Any:
    """The direction in which a real loss grows: of a complex array, the conjugate of what JAX calls its gradient."""
    return jax.tree.map(lambda g: jnp.conj(g) if jnp.iscomplexobj(g) else g, grads)


def started(start: Callable[[jax.Array], Slots], parts: bool, w: jax.Array) -> Slots:
    """What a rule keeps for an array; for a complex one moved in parts, complex arrays of what it keeps for each."""
    if not (parts and jnp.iscomplexobj(w)):
        return start(w)
    real, imag = start(jnp.real(w)), start(jnp.imag(w))
    return {k: jax.lax.complex(v, imag[k]) if v.shape == w.shape else v for k, v in real.items()}


def one(formula: Formula, parts: bool, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[Any, Slots]:
    """What to subtract from an array, in the wide dtype, and the new slots in the dtypes of the old."""
    if parts and jnp.iscomplexobj(w):
        step, new = _in_parts(formula, g, w, slots, n)
    else:
        step, new = formula(widened(g), widened(w), {k: _numbers_of(v) for k, v in slots.items()}, n)
    return step, {k: _as_before(v, slots[k]) if k in slots else v for k, v in new.items()}


def _numbers_of(slot: jax.Array | Blocks) -> jax.Array:
    return slot.value if isinstance(slot, Blocks) else widened(slot)


def _as_before(value: jax.Array, slot: jax.Array | Blocks) -> Any:
    return slot.again(value) if isinstance(slot, Blocks) else value.astype(slot.dtype)


def _in_parts(formula: Formula, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[Any, Slots]:
    """A complex number is a pair of real ones, each with a state of its own, as in PyTorch."""
    at = [
        formula(part(g), part(w), {k: part(v) if jnp.iscomplexobj(v) else v for k, v in slots.items()}, n)
        for part in (jnp.real, jnp.imag)
    ]
    (real, kept), (imag, other) = at
    return jax.lax.complex(real, imag), {
        k: jax.lax.complex(v, other[k]) if jnp.iscomplexobj(slots.get(k)) else v for k, v in kept.items()
    }
