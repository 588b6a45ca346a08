"""Which positions of a sequence each device has, and in what tiles it goes through them."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array, lax


@dataclass(frozen=True)
class Layout:
    """The positions of a device: ``rows`` in a row, or, zig-zag, the pieces i and 2n - 1 - i of 2n.

    Under a causal mask the last of n devices would compute n times what the first does; pieces from both ends make all
    equal (Brandon et al., "Striped attention", arXiv:2311.09431, has the problem; the zig-zag is Llama 3's cure,
    arXiv:2407.21783).

    Attributes:
        axis: the axis of the mesh.
        devices: how many there are along it; 1 for keys that lie whole on each.
        rows: positions on a device.
        tile: positions that are looked at together; divides what lies in a row.
        zigzag: whether the rows are two pieces.
    """

    axis: str
    devices: int
    rows: int
    tile: int
    zigzag: bool = False

    @property
    def length(self) -> int:
        """Positions on all devices together."""
        return self.devices * self.rows

    def starts(self, device: Array) -> Array:  # (tiles,)
        """The first position of each tile of a device."""
        if not self.zigzag:
            return device * self.rows + jnp.arange(0, self.rows, self.tile)
        half = self.rows // 2
        ends = jnp.stack([device, 2 * self.devices - 1 - device]) * half
        return (ends[:, None] + jnp.arange(0, half, self.tile)).reshape(-1)

    def tiled(self, x: Array) -> Array:
        """(batch, rows, heads, size) → (tiles, batch, heads, tile, size)."""
        batch, _, heads, size = x.shape
        return jnp.transpose(x.reshape(batch, -1, self.tile, heads, size), (1, 0, 3, 2, 4))

    def joined(self, x: Array) -> Array:
        """(tiles, batch, heads, tile, size) → (batch, rows, heads, size)."""
        _, batch, heads, _, size = x.shape
        return jnp.transpose(x, (1, 0, 3, 2, 4)).reshape(batch, self.rows, heads, size)

    def dealt(self, x: Array) -> Array:
        """Rows as they lie along the sequence (batch, rows, …), as this layout has them."""
        if not self.zigzag:
            return x
        even, odd = jnp.split(x, 2, axis=1)
        even, odd = self._sent(even, 0, back=False), self._sent(odd, 1, back=False)
        return jnp.concatenate(self._ordered(even, odd), axis=1)

    def collected(self, x: Array) -> Array:
        """Rows as this layout has them, as they lie along the sequence."""
        if not self.zigzag:
            return x
        even, odd = self._ordered(*jnp.split(x, 2, axis=1))
        return jnp.concatenate([self._sent(even, 0, back=True), self._sent(odd, 1, back=True)], axis=1)

    def _sent(self, piece: Array, parity: int, *, back: bool) -> Array:
        """The even or the odd pieces of all devices, sent to those that shall have them, or back."""
        last = 2 * self.devices - 1
        ways = [(i, min(2 * i + parity, last - 2 * i - parity)) for i in range(self.devices)]
        return lax.ppermute(piece, self.axis, [(to, i) if back else (i, to) for i, to in ways])

    def _ordered(self, one: Array, other: Array) -> list[Array]:
        """Two pieces, exchanged where the device is odd: there the first of the sequence is an odd one."""
        even = lax.axis_index(self.axis) % 2 == 0
        return [jnp.where(even, one, other), jnp.where(even, other, one)]


def shifted(tree: object, axis: str, devices: int, by: int) -> object:
    """Arrays sent on to the device that stands ``by`` places further."""
    if by % devices == 0:
        return tree
    ways = [(i, (i + by) % devices) for i in range(devices)]
    return jax.tree.map(lambda x: lax.ppermute(x, axis, ways), tree)


def fitting(rows: int, most: int) -> int:
    """The largest tile that is at most ``most`` positions long and comes of halving ``rows``."""
    tile = rows
    while tile > most and tile % 2 == 0:
        tile //= 2
    return tile
