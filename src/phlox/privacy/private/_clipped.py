"""Gradients by example, clipped and added up, as many at a time as there is room for."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from phlox.core import Module, StateError, StructureError, global_norm, gradients_by_path, scan, value_and_grad, vmap
from phlox.loop import Objective
from phlox.optim import share_of


class Clipped(NamedTuple):
    """What a batch comes to; sums over its real examples."""

    grads: dict[str, Any]  # by path, each example's clipped by the norm of all of it
    loss: Any  # ()
    longer: Any  # () examples whose gradient was longer than the bound
    count: Any  # () examples


def clipped_sum(
    model: Module, objective: Objective, clip: Any, examples: Any, real: Any, microbatch: int | None
) -> Clipped:
    r"""$\sum_i g_i \min(1, c / \|g_i\|)$ over the real examples of a batch, and what else it comes to.

    An example whose gradient is not finite counts as none: the sum moves by at most c for each, whatever it is.

    Arguments:
        model: what is differentiated; it trains.
        objective: the loss of one example, given as a batch of one.
        clip: c.
        examples: a tree of arrays (rows, ...).
        real: (rows,) false for rows that only fill up.
        microbatch: rows whose gradients are there at a time; None for all.
    """
    rows = real.shape[0]
    size = rows if microbatch is None else min(microbatch, rows)
    if size == rows:
        return _of_rows(model, objective, clip, examples, real)
    groups = -(-rows // size)
    cut = lambda a: _filled(jnp.asarray(a), groups * size).reshape(groups, size, *jnp.shape(a)[1:])  # noqa: E731
    parts = jax.tree.map(cut, (examples, real))  # what fills up is not real
    first = _of_rows(model, objective, clip, *jax.tree.map(lambda a: a[0], parts))

    def more(total: Clipped, part: Any) -> tuple[Clipped, None]:
        found = _of_rows(model, objective, clip, *part)
        return jax.tree.map(jnp.add, total, found), None

    return scan(more, first, jax.tree.map(lambda a: a[1:], parts))[0]


def _filled(array: Any, rows: int) -> Any:
    """An array with rows of zeros behind its own."""
    return jnp.pad(array, [(0, rows - array.shape[0])] + [(0, 0)] * (array.ndim - 1))


def _of_rows(model: Module, objective: Objective, clip: Any, examples: Any, real: Any) -> Clipped:
    def of_one(model: Module, example: Any, real: Any) -> tuple[dict[str, Any], Any, Any]:
        batch = jax.tree.map(lambda a: jnp.asarray(a)[None], example)
        loss, grads = value_and_grad(lambda model: objective(model, batch)[0])(model)
        named = gradients_by_path(model, grads, objective.where)
        norm = global_norm(named)
        share = jnp.where(real & jnp.isfinite(norm), share_of(clip, norm), 0)
        return {p: _times(g, share) for p, g in named.items()}, jnp.where(real, loss, 0), real & ~(norm <= clip)

    try:
        grads, losses, longer = vmap(of_one, in_axes=(None, 0, 0))(model, examples, real)
    except StateError as error:
        raise _mixing(error, objective.where) from error
    return Clipped(jax.tree.map(lambda g: g.sum(0), grads), losses.sum(), longer.sum(), real.sum())


def _times(g: Any, share: Any) -> Any:
    """A gradient in float32 at least, times a number; nothing, not even NaN, is left of it where that is 0."""
    wide = g.astype(jnp.promote_types(g.dtype, jnp.float32))
    return jnp.where(share == 0, 0, wide * share.astype(jnp.real(wide).dtype))


def _mixing(error: StateError, where: str) -> StructureError:
    return StructureError(
        "layers that look at one example at a time, and State that does not depend on the example",
        got=error.got or str(error),
        fix="take px.GroupNorm or px.LayerNorm in the place of px.BatchNorm, or pin it with px.testmode(layer)",
        where=where,
    )
