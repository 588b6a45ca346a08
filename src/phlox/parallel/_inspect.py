"""Which device holds what of a model, as a table and as a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from phlox.core import Module, RangeError, bytes_text, is_key, new_figure, paths, plain_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 110
_ROWS = 40  # the printed table shows the arrays of which a device holds most
_BLUE, _GREY, _INK = "#2563b8", "#d9dee6", "#33383f"


@dataclass(frozen=True)
class ArrayLayout:
    """Where one array lies.

    Attributes:
        path, dtype, shape: the array.
        cut: for each axis, the axes of the mesh that it is cut along, ``"fsdp"`` or ``"data, fsdp"``; empty where it is
            whole.
        bytes: of all of it.
        devices: bytes on each device that holds some of it, by the device's number.
    """

    path: str
    dtype: str
    shape: tuple[int, ...]
    cut: tuple[str, ...]
    bytes: int
    devices: dict[int, int]

    @property
    def most(self) -> int:
        """Bytes on the device that holds most of it."""
        return max(self.devices.values())

    @property
    def whole(self) -> bool:
        """Whether each of its devices holds all of it."""
        return all(n == self.bytes for n in self.devices.values())


@dataclass(frozen=True)
class Layout:
    """Which device holds what; printing it gives a table, ``plot`` a picture.

    Attributes:
        name: the model's class.
        arrays: where each array lies.
    """

    name: str
    arrays: tuple[ArrayLayout, ...]

    @property
    def devices(self) -> dict[int, int]:
        """Bytes on each device, by its number."""
        found: dict[int, int] = {}
        for array in self.arrays:
            for device, n in array.devices.items():
                found[device] = found.get(device, 0) + n
        return dict(sorted(found.items()))

    @property
    def bytes(self) -> int:
        """Of all arrays, each counted once."""
        return sum(array.bytes for array in self.arrays)

    @property
    def whole(self) -> tuple[ArrayLayout, ...]:
        """The arrays that lie whole on each of their devices."""
        return tuple(array for array in self.arrays if array.whole)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw what each device holds: a bar for each, what it holds whole and what in parts.

        Arguments:
            path: a file to write; its ending says the format.

        Returns:
            The figure of matplotlib.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        figure = new_figure(1.2 + 0.7 * max(4, len(self.devices)), 3.4, "Layout.plot")
        ax = figure.add_subplot()
        whole = sum(array.bytes for array in self.whole)
        held = self.devices
        at = [str(device) for device in held]
        parts = [n - sum(a.devices.get(d, 0) for a in self.whole) for d, n in held.items()]
        ax.bar(at, [whole] * len(at), color=_GREY, label=f"whole, {bytes_text(whole)}")
        ax.bar(at, parts, bottom=[whole] * len(at), color=_BLUE, label=f"in parts, up to {bytes_text(max(parts))}")
        ax.axhline(self.bytes, color=_INK, linewidth=1, linestyle="--", label=f"all of it, {bytes_text(self.bytes)}")
        ax.set_title(f"{self.name} over {len(at)} devices", fontsize=10, loc="left", color=_INK)
        ax.set_xlabel("device", fontsize=9, color=_INK)
        ax.set_ylabel("bytes", fontsize=9, color=_INK)
        ax.tick_params(labelsize=8, colors=_INK)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize=8)
        if path is not None:
            figure.savefig(path)
        return figure

    def __rich__(self) -> Any:
        """The table, for rich."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        shown = sorted(self.arrays, key=lambda array: -array.most)[:_ROWS]
        table = Table(show_edge=False, pad_edge=False)
        for name in ("array", "shape", "cut", "a device"):
            table.add_column(name, justify="right" if name == "a device" else "left", overflow="fold")
        for array in self.arrays:
            if array in shown:
                shape = f"{array.dtype}[{', '.join(map(str, array.shape))}]"
                table.add_row(array.path, shape, _told(array), bytes_text(array.most))
        if len(self.arrays) > len(shown):
            table.add_row("…", f"{len(self.arrays) - len(shown)} smaller arrays")
        return Group(Text(self._verdict()), table)

    def _verdict(self) -> str:
        held, whole = self.devices, sum(array.bytes for array in self.whole)
        low, high = min(held.values()), max(held.values())
        each = bytes_text(high) if low == high else f"{bytes_text(low)} to {bytes_text(high)}"
        devices = f"{len(held)} device{'' if len(held) == 1 else 's'}"
        return f"{self.name}: {bytes_text(self.bytes)} over {devices}, {each} on each, {bytes_text(whole)} of it whole"

    def __str__(self) -> str:
        return plain_text(self, _WIDTH)

    __repr__ = __str__


def inspect(model: Module) -> Layout:
    """Which device holds what of a model, or of any other Module, such as an optimiser.

    Raises:
        RangeError: a Module without arrays, or with shapes in their place.

    >>> import phlox as px
    >>> px.parallel.inspect(px.Dense(4, 2))
    Dense: 40 bytes over 1 device, 40 bytes on each, 40 bytes of it whole
    array  ┃ shape         ┃ cut   ┃ a device
    ━━━━━━━╇━━━━━━━━━━━━━━━╇━━━━━━━╇━━━━━━━━━
    weight │ float32[4, 2] │ whole │ 32 bytes
    bias   │ float32[2]    │ whole │  8 bytes
    """
    found = paths(model)
    strange = next((v for v in found.values() if not isinstance(v, jax.Array)), None)
    if not found or strange is not None:
        got = "none" if not found else f"{type(strange).__name__} in their place"
        fix = "give it a model whose arrays are there"
        raise RangeError("a Module with arrays", got=got, fix=fix, where="px.parallel.inspect")
    return Layout(type(model).__name__, tuple(_array(path, v) for path, v in found.items()))


def _array(path: str, value: jax.Array) -> ArrayLayout:
    bare: Any = jax.random.key_data(value) if is_key(value) else value
    size = jnp.dtype(bare.dtype).itemsize
    part = math.prod(bare.sharding.shard_shape(bare.shape)) * size
    devices = {device.id: part for device in sorted(bare.sharding.device_set, key=lambda device: device.id)}
    dtype = "key" if is_key(value) else bare.dtype.name
    return ArrayLayout(path, dtype, tuple(value.shape), _cut(value), bare.size * size, devices)


def _cut(value: jax.Array) -> tuple[str, ...]:
    """Along what each axis is cut, by the names of the mesh; a sharding of another kind tells how many parts."""
    if isinstance(value.sharding, NamedSharding):
        spec = (*value.sharding.spec, *(None,) * value.ndim)[: value.ndim]
        return tuple(", ".join(names) if isinstance(names, tuple) else names or "" for names in spec)
    part = value.sharding.shard_shape(value.shape)
    return tuple("" if n == whole else str(whole // n) for n, whole in zip(part, value.shape, strict=True))


def _told(array: ArrayLayout) -> str:
    cut = [f"axis {at} along {names}" for at, names in enumerate(array.cut) if names]
    return "whole" if array.whole else "; ".join(cut)
