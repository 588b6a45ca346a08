"""Conditions of a model, and guidance: away from what it says without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, ShapeError, describe

Denoiser = Callable[..., Any]  # model(x, t) or model(x, t, condition)


class Guide(NamedTuple):
    """What a sampler gives a model beside x and t."""

    condition: Any
    unconditional: Any
    scale: Any


def guide_of(where: str, condition: Any, unconditional: Any, guidance: Any) -> Guide:
    """The arguments of a sampler, checked."""
    if condition is None and unconditional is not None:
        got, fix = "unconditional alone", "give condition too, or neither"
        raise RangeError("a condition beside unconditional", got=got, fix=fix, where=where)
    plain = isinstance(guidance, (int, float)) and guidance == 1
    if unconditional is None and not plain:
        fix = "give unconditional=, such as the number behind the last class (DiT: model.config.classes)"
        raise RangeError("what the model gets without a condition", got=f"guidance={guidance}", fix=fix, where=where)
    kind = getattr(guidance, "dtype", None)
    kind = np.asarray(guidance).dtype if kind is None else kind
    if np.ndim(guidance) > 1 or not jnp.issubdtype(kind, jnp.number):
        fix = "give one number, or one for each example"
        raise ShapeError("guidance () or (batch,)", got=describe(guidance), fix=fix, where=where)
    return Guide(condition, None if plain else unconditional, guidance)


def predicted(where: str, model: Denoiser, x: jax.Array, t: jax.Array, guide: Guide) -> jax.Array:
    r"""What the model says of x at time t: $m(x, ∅) + s\,(m(x, c) - m(x, ∅))$, both in one batch."""
    times = jnp.broadcast_to(t, x.shape[:1])
    if guide.condition is None:
        return _alike(where, model(x, times), x)
    if guide.unconditional is None:
        return _alike(where, model(x, times, guide.condition), x)
    without = jax.tree.map(lambda u, c: jnp.broadcast_to(u, jnp.shape(c)), guide.unconditional, guide.condition)
    twice = jax.tree.map(lambda *parts: jnp.concatenate(parts), (x, times, guide.condition), (x, times, without))
    given, free = jnp.split(model(*twice), 2)
    return _alike(where, free + _scale(where, guide, free) * (given - free), x)


def _scale(where: str, guide: Guide, free: jax.Array) -> jax.Array:
    """The guidance, to stand beside what the model says: of each example its own."""
    scale = jnp.asarray(guide.scale, free.dtype)
    if scale.ndim == 0:
        return scale
    if scale.shape != free.shape[:1]:
        fix = "give one number, or one for each example"
        raise ShapeError(f"guidance () or ({free.shape[0]},)", got=describe(scale), fix=fix, where=where)
    return scale.reshape(scale.shape + (1,) * (free.ndim - 1))


def _alike(where: str, said: jax.Array, x: jax.Array) -> jax.Array:
    if said.shape == x.shape:
        return said
    fix = "return an array of the shape of x"
    if said.shape[:-1] == x.shape[:-1] and said.shape[-1] == 2 * x.shape[-1]:
        fix = f"leave the learned variance out: lambda *given: model(*given)[..., :{x.shape[-1]}]"
    expected = f"a model that returns {list(x.shape)}, the shape of x"
    raise ShapeError(expected, got=describe(said), fix=fix, where=where, located=True)
