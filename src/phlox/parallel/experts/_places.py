"""Which token has which place at which expert: those of the whole batch in its order, as on one device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax


@dataclass(frozen=True)
class Plan:
    """How many of what, on each device.

    Attributes:
        axis: the axis of the mesh that experts are cut along.
        batch: all axes that tokens are cut along, with it as the last.
        devices: devices along ``axis``.
        shards: parts that tokens are in.
        experts: how many there are.
        room: tokens that an expert takes.
        slots: tokens that a device sends to an expert at most, where all is sent.
    """

    axis: str
    batch: tuple[str, ...]
    devices: int
    shards: int
    experts: int
    room: int
    slots: int

    @property
    def others(self) -> tuple[str, ...]:
        """The axes along which experts are not cut, but the tokens in their room are."""
        return self.batch[:-1]

    @property
    def groups(self) -> int:
        """Devices along the other axes."""
        return self.shards // self.devices

    @property
    def here(self) -> int:
        """Experts on a device."""
        return self.experts // self.devices

    @property
    def held(self) -> int:
        """The room in a multiple of what shares it; also the place of a token that found none."""
        return -(-self.room // self.groups) * self.groups


class Places(NamedTuple):
    """Where tokens go, on a device; numbers beyond what there is are nowhere."""

    fits: Array  # () whether every device can send all by its slots
    place: Array  # (tokens, experts) the place of a token at an expert
    token: Array  # (experts, slots) what is sent there
    arrived: Array  # (devices, experts here, slots) the places of what comes from each device


def places(plan: Plan, weights: Array) -> Places:
    """Where the tokens of this device go, by their weights (tokens, experts), which are zero for all but the chosen."""
    chosen, tokens = weights > 0, weights.shape[0]
    every = lax.all_gather(jnp.sum(chosen, 0, dtype=jnp.int32), plan.batch)  # (shards, experts)
    before = jnp.cumsum(every, 0, dtype=jnp.int32) - every
    rank = jnp.cumsum(chosen, 0, dtype=jnp.int32) - 1
    place = before[lax.axis_index(plan.batch)] + rank
    place = jnp.where(chosen & (place < plan.room), place, plan.held)
    fits = jnp.max(jnp.clip(plan.room - before, 0, every)) <= plan.slots
    at = (jnp.arange(plan.experts), jnp.where(place < plan.room, rank, plan.slots))
    form = (plan.experts, plan.slots)
    token = jnp.full(form, tokens, jnp.int32).at[at].set(jnp.arange(tokens, dtype=jnp.int32)[:, None], mode="drop")
    goes = jnp.full(form, plan.held, jnp.int32).at[at].set(place, mode="drop")
    arrived = lax.all_to_all(goes.reshape(plan.devices, plan.here, plan.slots), plan.axis, 0, 0)
    return Places(fits, place, token, arrived)


def held_here(plan: Plan, place: Array) -> Array:  # (experts here, room / groups)
    """Which token stands in each place of this device, by the places of all tokens (tokens, experts)."""
    mine = lax.dynamic_slice_in_dim(place, lax.axis_index(plan.axis) * plan.here, plan.here, 1)
    tokens = jnp.arange(place.shape[0], dtype=jnp.int32)[:, None]
    found = jnp.full((plan.here, plan.held), place.shape[0], jnp.int32)
    found = found.at[(jnp.arange(plan.here), mine)].set(tokens, mode="drop")
    if not plan.others:
        return found
    part = plan.held // plan.groups
    return lax.dynamic_slice_in_dim(found, lax.axis_index(plan.others) * part, part, 1)
