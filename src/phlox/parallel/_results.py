"""Results of layers held where batches lie, so that the compiler moves weights to data and not data to weights.

Left alone, XLA's partitioner may decide that the operands of a product lie well as they are, cut along the axis that is
summed over, and add up partial results of the whole batch on every device: right numbers, with activations moved
in place of weights. ``docs/design/scale.md`` has what was seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from phlox.core import Module, is_key


@dataclass(frozen=True)
class Results:
    """Constrains what has a batch's first axis, and its second where that is cut; further axes are the compiler's.

    Inside ``jax.shard_map`` over some axes nothing is held: there an array is a part already.
    """

    mesh: Mesh
    batch: tuple[str, ...]  # axes of the mesh that the first axis of a batch is cut along
    sequence: tuple[str, ...]  # and the second
    rows: int | None  # of the batch
    steps: frozenset[int]  # in its sequences

    def __call__(self, module: Module, y: Any) -> Any:
        """What a layer gave, held."""
        del module
        if not (self.batch or self.sequence) or not self.rows or jax.sharding.get_abstract_mesh().manual_axes:
            return y
        return jax.tree.map(self._held, y)

    def _held(self, y: Any) -> Any:
        if not isinstance(y, Tracer) or is_key(y) or not y.ndim or not jnp.issubdtype(y.dtype, jnp.inexact):
            return y
        if y.shape[0] != self.rows or y.shape[0] % self._devices(self.batch):
            return y
        cut: list[Any] = [self.batch or None, *(PartitionSpec.UNCONSTRAINED,) * (y.ndim - 1)]
        if self._is_cut_in_time(y.shape):
            cut[1] = self.sequence
        return jax.lax.with_sharding_constraint(y, NamedSharding(self.mesh, PartitionSpec(*cut)))

    def _is_cut_in_time(self, shape: tuple[int, ...]) -> bool:
        if not self.sequence or len(shape) < 3 or shape[1] not in self.steps:
            return False
        return shape[1] % self._devices(self.sequence) == 0

    def _devices(self, axes: tuple[str, ...]) -> int:
        return math.prod(self.mesh.shape[name] for name in axes)
