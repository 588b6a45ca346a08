"""A step of Adam or AdamW on a large array in one pass over memory, where XLA makes three: one for each result."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.nn import Kernel, Roles, derive_by_plain_form, in_use

Arrays = tuple[jax.Array, jax.Array, jax.Array]

LEAST = 1 << 20  # elements: arrays that caches hold XLA moves as fast, and beside the products of other layers


def takes(g: jax.Array, w: jax.Array) -> bool:
    """Whether there is a kernel for the step of this array."""
    return w.size >= LEAST and g.dtype == w.dtype == jnp.float32 and in_use(g, w)


def moved(g: jax.Array, w: jax.Array, slots: dict[str, jax.Array], n: Any, decay: Any) -> tuple[jax.Array, Any]:
    """The array after a step, and the moments; ``n`` is what ``Adam.step`` gets. ``decay`` is λ, or None."""
    numbers = [n.learning_rate, n.b1, 1 - n.b1, n.b2, 1 - n.b2, n.eps, n.c1, n.c2, 0.0 if decay is None else decay]
    stacked = jnp.stack([jnp.asarray(x, jnp.float32) for x in numbers])
    w, m, v = _adam(w, slots["m"], slots["v"], g, stacked, *n.before, decays=decay is not None)
    return w, {"m": m, "v": v}


def _plain(w: Any, m: Any, v: Any, g: Any, numbers: Any, *before: Any, decays: bool) -> Arrays:
    del before  # they only order calls
    rate, b1, rest1, b2, rest2, eps, c1, c2, decay = numbers
    m, v = b1 * m + rest1 * g, b2 * v + rest2 * (g * g)
    step = rate * ((m / c1) / (jnp.sqrt(v / c2) + eps))
    return w - (step + rate * decay * w if decays else step), m, v


def _shapes(w: Any, m: Any, v: Any, *_: Any, decays: bool) -> tuple[jax.ShapeDtypeStruct, ...]:
    del decays
    return tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (w, m, v))


def _call(*arrays: jax.Array, decays: bool) -> tuple[jax.Array, ...]:
    in_place = {0: 0, 1: 1, 2: 2}
    call = jax.ffi.ffi_call("phlox_cpu_adam", _shapes(*arrays, decays=decays), input_output_aliases=in_place)
    return tuple(call(*arrays, decays=decays))


def _declines(library: Any, *avals: Any, decays: bool) -> None:
    del library, avals, decays


_adam = Kernel("phlox_adam", _plain, _call, _shapes, _declines, several=True, roles=Roles("w", "www"))
derive_by_plain_form(_adam)
