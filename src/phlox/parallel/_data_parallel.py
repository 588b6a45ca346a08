"""Data parallelism: every device holds the whole model and works on its part of each batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from phlox.core import Module, RangeError, ShapeError, describe, paths, write_arrays

AXIS = "batch"


@dataclass(frozen=True)
class DataParallel:
    """Where arrays go: ``replicate`` puts Modules on every device, ``spread`` a batch over them.

    The compiler adds what is needed between devices. So means, statistics of BatchNorm and gradients are those of the
    whole batch, and a step gives what it gives on one device, to rounding.

    Attributes:
        mesh: the devices along one axis, ``batch``.
    """

    mesh: Mesh

    @property
    def count(self) -> int:
        """How many devices there are."""
        return self.mesh.size

    def replicate(self, *modules: Module) -> None:
        """Put all arrays of Modules on every device, in place."""
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        for module in modules:
            write_arrays(module, {path: jax.device_put(v, everywhere) for path, v in paths(module).items()})

    def spread(self, batch: Any) -> Any:
        """A batch with its first axis cut over the devices; scalars go to each.

        Raises:
            ShapeError: a first axis that the devices do not share evenly.
        """
        return jax.tree.map(self._cut, batch)

    def _cut(self, leaf: Any) -> jax.Array:
        axes = PartitionSpec(AXIS) if np.ndim(leaf) else PartitionSpec()
        if np.ndim(leaf) and np.shape(leaf)[0] % self.count:
            raise ShapeError(
                f"batches that {self.count} devices share evenly",
                got=describe(leaf),
                fix="choose a multiple as batch_size; a px.DataLoader fills up the last batch, or drops it",
                where="data_parallel",
            )
        return jax.device_put(leaf, NamedSharding(self.mesh, axes))


def data_parallel(devices: str | int | Sequence[Any] = "all") -> DataParallel:
    """Data parallelism over devices.

    Arguments:
        devices: ``"all"``, those of a platform such as ``"gpu"``, how many of them, or which.

    Raises:
        RangeError: more devices than there are, none, or what names no devices.

    >>> from phlox.parallel import data_parallel
    >>> data_parallel(1).count
    1
    """
    chosen = _chosen(devices)
    if not chosen:
        there = jax.devices()
        raise RangeError(
            f'devices as "all", a platform, 1 … {len(there)}, or a list of devices',
            got=repr(devices),
            fix=f"leave devices out for one; there are {len(there)} of {there[0].platform}: see jax.devices()",
            where="data_parallel",
        )
    return DataParallel(Mesh(np.array(chosen), (AXIS,), axis_types=(AxisType.Auto,)))


def _chosen(devices: Any) -> list[Any]:
    """The devices that are meant; none where there are fewer, or where this means nothing."""
    there = jax.devices()
    if isinstance(devices, str):
        try:
            return there if devices == "all" else jax.devices(devices)
        except RuntimeError:  # no such platform
            return []
    if isinstance(devices, int):
        return there[:devices] if not isinstance(devices, bool) and 0 < devices <= len(there) else []
    chosen = list(devices) if isinstance(devices, Sequence) else []
    return chosen if all(isinstance(device, jax.Device) for device in chosen) else []
