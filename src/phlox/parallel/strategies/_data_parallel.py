"""Data parallelism: every device holds the whole model and works on its part of each batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax

from phlox.core import RangeError
from phlox.parallel._strategy import AlongOneAxis


@dataclass(frozen=True)
class DataParallel(AlongOneAxis):
    """Every device holds the whole model and works on its part of each batch.

    The compiler adds what is needed between devices. So means, statistics of BatchNorm and gradients are those of the
    whole batch, and a step gives what it gives on one device, to rounding.

    Attributes:
        size: how many parts; -1 is as many as there are devices left.
        axis: the axis of the mesh.
        chosen: the devices, where some were named.
    """

    axis: str = "data"
    chosen: tuple[Any, ...] | None = None

    @property
    def batch(self) -> tuple[str, ...]:
        return (self.axis,)

    @property
    def keeps_whole(self) -> bool:
        return True

    @property
    def devices(self) -> tuple[Any, ...] | None:
        return self.chosen

    @property
    def count(self) -> int:
        """How many devices there are."""
        return jax.device_count() if self.size == -1 else self.size

    def __repr__(self) -> str:
        return f"data_parallel({'' if self.size == -1 else self.size})"


def data_parallel(devices: str | int | Sequence[Any] = "all", *, axis: str = "data") -> DataParallel:
    """Data parallelism over devices.

    Arguments:
        devices: ``"all"``, those of a platform such as ``"gpu"``, how many of them, or which.
        axis: the name of its axis in the mesh.

    Raises:
        RangeError: more devices than there are, none, or what names no devices.

    >>> from phlox.parallel import data_parallel
    >>> data_parallel(1).count
    1
    """
    if devices == "all":
        return DataParallel(axis=axis)
    chosen = _chosen(devices)
    if not chosen:
        there = jax.devices()
        raise RangeError(
            f'devices as "all", a platform, 1 … {len(there)}, or a list of devices',
            got=repr(devices),
            fix=f"leave devices out for one; there are {len(there)} of {there[0].platform}: see jax.devices()",
            where="data_parallel",
        )
    return DataParallel(len(chosen), axis, None if isinstance(devices, int) else tuple(chosen))


def _chosen(devices: Any) -> list[Any]:
    """The devices that are meant; none where there are fewer, or where this means nothing."""
    there = jax.devices()
    if isinstance(devices, str):
        try:
            return jax.devices(devices)
        except RuntimeError:  # no such platform
            return []
    if isinstance(devices, int):
        return there[:devices] if not isinstance(devices, bool) and 0 < devices <= len(there) else []
    chosen = list(devices) if isinstance(devices, Sequence) else []
    return chosen if all(isinstance(device, jax.Device) for device in chosen) else []
