"""Tokens sent to their places at experts, and what these made of them sent back; on each device.

Two ways give the same. By all-to-all a device sends what it has for each expert, in a number of slots that is fixed
when the program is compiled; where a batch needs more, all tokens are gathered instead.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from phlox.parallel.experts._places import Places, Plan, held_here


def sent(plan: Plan, tokens: Array, at: Places) -> Array:  # (experts here, room / groups, dim)
    """Tokens (tokens, dim) of all devices in their places, by all-to-all."""
    rows = tokens.at[at.token].get(mode="fill", fill_value=0)
    came = lax.all_to_all(rows.reshape(plan.devices, plan.here, plan.slots, -1), plan.axis, 0, 0)
    held = jnp.zeros((plan.here, plan.held, tokens.shape[1]), tokens.dtype)
    held = held.at[_experts(plan), _by_expert(at.arrived)].add(_by_expert(came), mode="drop")
    return lax.psum_scatter(held, plan.others, scatter_dimension=1, tiled=True) if plan.others else held


def returned(plan: Plan, ys: Array, weights: Array, at: Places) -> Array:  # (tokens, dim)
    """What experts made of tokens, each times its weight (tokens, experts), by all-to-all."""
    ys = lax.all_gather(ys, plan.others, axis=1, tiled=True) if plan.others else ys
    rows = ys.at[_experts(plan), _by_expert(at.arrived)].get(mode="fill", fill_value=0)
    rows = jnp.swapaxes(rows.reshape(plan.here, plan.devices, plan.slots, -1), 0, 1)
    rows = lax.all_to_all(rows, plan.axis, 0, 0).reshape(plan.experts, plan.slots, -1)
    return _weighted(rows, weights, at.token, jnp.arange(plan.experts)[:, None])


def gathered(plan: Plan, tokens: Array, at: Places) -> Array:  # (experts here, room / groups, dim)
    """Tokens (tokens, dim) of all devices in their places, each device having gathered all."""
    every, place = (lax.all_gather(x, plan.batch, tiled=True) for x in (tokens, at.place))
    return every.at[held_here(plan, place)].get(mode="fill", fill_value=0)


def scattered(plan: Plan, ys: Array, weights: Array, at: Places) -> Array:  # (tokens, dim)
    """What experts made of tokens, each times its weight (tokens, experts), summed over devices."""
    every, place = (lax.all_gather(x, plan.batch, tiled=True) for x in (weights, at.place))
    first = lax.axis_index(plan.axis) * plan.here
    y = _weighted(ys, every, held_here(plan, place), first + _experts(plan))
    return lax.psum_scatter(y, plan.batch, scatter_dimension=0, tiled=True)


def summed(axis: str, weights: Array, ys: Array) -> Array:  # (tokens / devices, dim)
    """What experts (experts here, tokens, dim) made of all tokens by their weights (tokens, experts here), summed."""
    y = jnp.einsum("ne,end->nd", weights, ys)
    return lax.psum_scatter(y, axis, scatter_dimension=0, tiled=True)


def _weighted(rows: Array, weights: Array, token: Array, expert: Array) -> Array:
    """Rows (experts, …, dim) that belong to tokens, summed by token with their weights."""
    share = weights.astype(rows.dtype).at[token, expert].get(mode="fill", fill_value=0)
    y = jnp.zeros((weights.shape[0], rows.shape[-1]), rows.dtype)
    return y.at[token].add(share[..., None] * rows, mode="drop")


def _experts(plan: Plan) -> Array:  # (experts here, 1)
    return jnp.arange(plan.here)[:, None]


def _by_expert(x: Array) -> Array:
    """(devices, experts here, slots, …) → (experts here, devices * slots, …)."""
    devices, here, slots, *rest = x.shape
    return jnp.swapaxes(x, 0, 1).reshape(here, devices * slots, *rest)
