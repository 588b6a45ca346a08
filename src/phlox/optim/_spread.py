"""The state of a model that is spread over devices: what is on one of them goes to all.

Moments are made in the likeness of weights and lie as these do. Counts and rates are made on one device; a compiled
step would leave them on all, and be compiled once more for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec


def spread_over(params: Mapping[str, Any]) -> NamedSharding | None:
    """Whole on each device of the mesh that a model is spread over; None where it lies on one, or on no single mesh."""
    known = [v.sharding for v in params.values() if isinstance(v, jax.Array) and not isinstance(v, Tracer)]
    meshes = {s.mesh if isinstance(s, NamedSharding) else None for s in known}
    mesh = next(iter(meshes)) if len(meshes) == 1 else None
    if mesh is None or mesh.size == 1:
        return None
    where = NamedSharding(mesh, PartitionSpec())
    return where if where.is_fully_addressable else None


def joined(vector: Any) -> Any:
    """A vector of small arrays, whole on each device, however its parts were cut: a step leaves it so."""
    if isinstance(vector, Tracer) or vector.sharding.is_fully_replicated:
        return vector
    return jax.jit(lambda v: v, out_shardings=NamedSharding(vector.sharding.mesh, PartitionSpec()))(vector)


def beside(value: Any, where: NamedSharding | None) -> Any:
    """A number or array of a state, on all devices of the model; what is there already stays as it lies."""
    if where is None or isinstance(value, Tracer) or value.sharding.device_set == where.device_set:
        return value
    return jax.device_put(value, where)
