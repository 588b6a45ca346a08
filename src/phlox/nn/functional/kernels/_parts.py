"""Kernels in programs over several devices: each device calls them for its rows of a batch.

XLA's partitioner does not look into calls: it would gather their whole operands on every device. So a kernel's call
stands in a ``jax.shard_map``, cut as its roles say. What the devices found for weights is summed outside of it, where
the compiler puts that sum beside the others of a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec


@dataclass(frozen=True)
class Roles:
    """What the arrays of a kernel are to a batch, a letter each: ``Roles("rww", "rss")``.

    Attributes:
        inputs: ``r`` has the batch's rows first, or is empty; ``w`` is needed whole. The last letter goes on.
        outputs: ``r`` as above; ``s`` is summed over the rows; ``w`` is the same from the same inputs.
    """

    inputs: str
    outputs: str

    def of_inputs(self, arrays: Sequence[Any]) -> str:
        """A letter for each input; what is empty has no rows to cut."""
        letters = self.inputs.ljust(len(arrays), self.inputs[-1])
        return "".join(letter if a.size else "w" for letter, a in zip(letters, arrays, strict=True))


@dataclass(frozen=True)
class Parts:
    """The way of kernels where a batch is cut over devices: ``phlox.core.way("kernels")``.

    Attributes:
        mesh: the devices.
        axes: the axes of the mesh that the first axis of a batch is cut along.
        rows: of the whole batch; what has a multiple of them has the batch first.
        weights_whole: whether every device holds every weight.
    """

    mesh: Mesh
    axes: tuple[str, ...]
    rows: int
    weights_whole: bool

    @property
    def count(self) -> int:
        """In how many parts a batch is cut."""
        return math.prod(self.mesh.shape[name] for name in self.axes)

    @property
    def only(self) -> bool:
        """Whether nothing else is cut: other axes of the mesh are for features, time or blocks."""
        return self.count == self.mesh.size

    def takes(self, roles: Roles, arrays: Sequence[Any]) -> bool:
        """Whether each device can do its rows of these by itself."""
        if not self.only:
            return False
        cut = [a for a, letter in zip(arrays, roles.of_inputs(arrays), strict=True) if letter == "r"]
        if not cut:
            return self.weights_whole
        return all(a.shape[0] % self.rows == 0 and a.shape[0] % self.count == 0 for a in cut)

    def of_each(self, roles: Roles, arrays: Sequence[Any]) -> list[jax.ShapeDtypeStruct]:
        """The inputs as one device has them."""
        share = {"r": self.count, "w": 1}
        return [
            jax.ShapeDtypeStruct((a.shape[0] // share[letter], *a.shape[1:]) if a.ndim else a.shape, a.dtype)
            for a, letter in zip(arrays, roles.of_inputs(arrays), strict=True)
        ]

    def __call__(self, roles: Roles, call: Callable[..., Any]) -> Callable[..., list[Any]]:
        """The call on whole arrays, done in parts."""
        apart = self.apart(roles, call)

        def whole(*arrays: Any) -> list[Any]:
            found = zip(apart(*arrays), roles.outputs, strict=True)
            return [jnp.sum(a, 0) if letter == "s" else a for a, letter in found]

        return whole

    def apart(self, roles: Roles, call: Callable[..., Any]) -> Callable[..., list[Any]]:
        """The same with what is to be summed still apart: the parts along an axis in front, each where it was found."""
        where = {"r": PartitionSpec(self.axes), "s": PartitionSpec(self.axes), "w": PartitionSpec()}
        outputs = [where[letter] for letter in roles.outputs]

        def part(*arrays: Any) -> list[Any]:
            found = call(*arrays)
            found = found if isinstance(found, tuple | list) else [found]
            return [a[None] if letter == "s" else a for a, letter in zip(found, roles.outputs, strict=True)]

        def spread(*arrays: Any) -> list[Any]:
            given = tuple(where[letter] for letter in roles.of_inputs(arrays))
            return jax.shard_map(part, mesh=self.mesh, in_specs=given, out_specs=outputs, check_vma=False)(*arrays)

        return spread
