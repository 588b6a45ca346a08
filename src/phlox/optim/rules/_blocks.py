r"""Arrays kept in 8 bits: each block of numbers as codes, and the largest of them.

A number is a code's value times the largest size in its block. The 256 values are dynamic: seven decades, each cut into
twice as many equal parts as the one below it, a value in the middle of each part; 0; and 1. With a sign the decades
from 1e-7 to 1 have 1, 2, … 64 parts, on both sides of 0; without one they have 2, 4, … 128.

Source: Dettmers et al., "8-bit optimizers via block-wise quantization", 2022.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec

SIGNS = ("signed", "unsigned")
_DECADES = 7

Sides = tuple[int, ...]


@functools.partial(jax.tree_util.register_dataclass, data_fields=["codes", "scales"], meta_fields=["sides", "sign"])
@dataclass(frozen=True)
class Blocks:
    """An array in 8 bits. Where whole optimisers are stacked, both arrays have more axes in front.

    Attributes:
        codes: uint8, of the array's shape; 0 is zero.
        scales: float32, the largest size in each block: as many along each axis as there are blocks.
        sides: of a block, along each axis; the last one of an axis may be cut short.
        sign: ``"signed"``, or ``"unsigned"`` for what is never below 0.
    """

    codes: Any
    scales: Any
    sides: Sides
    sign: str

    @classmethod
    def of(cls, value: jax.Array, sides: Sides, sign: str) -> Blocks:
        """The nearest codes. What is above 0 without a sign stays so: others divide by it."""
        codes, scales = _encoded(value, sides, sign, _places(value, sides))
        return cls(codes, scales, sides, sign)

    def again(self, value: jax.Array) -> Blocks:
        """Another array in the same blocks."""
        return self.of(value, self.sides, self.sign)

    @property
    def value(self) -> jax.Array:
        """The array in float32."""
        found = jnp.asarray(_values(self.sign)).at[self.codes].get(mode="promise_in_bounds")
        sides = (1,) * (self.codes.ndim - len(self.sides)) + self.sides
        return found * _over_blocks(self.scales, sides, self.codes.shape)


def is_blocks(node: Any) -> bool:
    """Whether a node of a state is an array in 8 bits."""
    return isinstance(node, Blocks)


def in_full(tree: Any) -> Any:
    """A tree whose arrays are all there as numbers."""
    return jax.tree.map(lambda v: v.value if is_blocks(v) else v, tree, is_leaf=is_blocks)


# --- the values ---------------------------------------------------------------------------------------


def _parts(sign: str) -> list[int]:
    """In how many parts each decade is cut."""
    return [2**d * (1 if sign == "signed" else 2) for d in range(_DECADES)]


def _upward(sign: str) -> np.ndarray:
    """The values from 0 to 1."""
    edges = [10.0 ** (d - _DECADES + 1) * np.linspace(0.1, 1, n + 1) for d, n in enumerate(_parts(sign))]
    return np.concatenate([[0.0], *[(e[1:] + e[:-1]) / 2 for e in edges], [1.0]])


@functools.cache
def _values(sign: str) -> np.ndarray:
    """The value of each code: 0, then upward to 1; then, with a sign, from the lowest upward to 0."""
    up = _upward(sign)
    return np.concatenate([up, -up[-2:0:-1]] if sign == "signed" else [up]).astype(np.float32)


def _decades(sign: str) -> list[tuple[float, float, float, float]]:
    """Of each decade from below the border to the one below, the first code, the parts, and the parts in a unit."""
    up, found, first = _upward(sign), [], 1
    for d, parts in enumerate(_parts(sign)):
        found.append(((up[first] + up[first - 1]) / 2, first, parts, parts / (0.9 * 10.0 ** (d - _DECADES + 1))))
        first += parts
    return found


def _nearest(share: jax.Array, sign: str) -> jax.Array:
    """The code of the nearest value, for numbers from -1 to 1.

    Choices among constants are fused with what is around them; a table would be gathered from, four times as slowly.
    """
    up, size = _upward(sign), jnp.abs(share)
    lowest, *others = _decades(sign)
    first, parts, density = (jnp.full_like(size, v) for v in lowest[1:])
    for border, *numbers in others:
        here = size >= np.float32(border)
        first, parts, density = (
            jnp.where(here, np.float32(new), old) for new, old in zip(numbers, (first, parts, density), strict=True)
        )
    code = first + jnp.clip(jnp.floor(size * density - parts * np.float32(1 / 9)), 0, parts - 1)
    code = jnp.where(share >= np.float32((up[-1] + up[-2]) / 2), len(up) - 1.0, code)
    if sign == "unsigned":
        return jnp.where(share > 0, code, 0.0).astype(jnp.uint8)
    code = jnp.where(size < np.float32(up[1] / 2), 0.0, code)
    return (jnp.where(share < 0, -code, code).astype(jnp.int32) & 255).astype(jnp.uint8)


# --- the blocks ---------------------------------------------------------------------------------------


def sides_of(shape: tuple[int, ...], whole: int, most: int) -> Sides:
    """The sides of a block of at most so many numbers; the first ``whole`` axes are not grouped.

    Boxes, with as many along one axis as along another, so that an array can be cut along any of them and no block be
    cut. They share axes evenly where that leaves them at least a quarter of ``most``.
    """
    sides = [1] * len(shape)

    def grow(factor: Any) -> None:
        while True:
            counts = {axis: -(-shape[axis] // sides[axis]) for axis in range(whole, len(shape))}
            fits = {axis: factor(n) for axis, n in counts.items() if n > 1 and factor(n) * prod(sides) <= most}
            if not fits:
                return
            longest = max(fits, key=lambda axis: (counts[axis], -axis))  # of two that are equal the last is cut first
            sides[longest] *= fits[longest]

    grow(_smallest_factor)
    if 4 * prod(sides) < most:
        grow(lambda n: 2)
    return tuple(sides)


def _smallest_factor(n: int) -> int:
    return next((p for p in range(2, int(n**0.5) + 1) if n % p == 0), n)


@functools.partial(jax.jit, static_argnames=("sides", "sign", "places"))
def _encoded(value: jax.Array, sides: Sides, sign: str, places: Any) -> tuple[jax.Array, jax.Array]:
    value = value.astype(jnp.float32)
    scales = _largest(value, sides)
    inverse = jnp.where(scales < jnp.finfo(jnp.float32).tiny, 0, 1 / scales)  # a quotient at each place does not fuse
    codes = _nearest(value * _over_blocks(inverse, sides, value.shape), sign)
    if places is not None:
        codes, scales = (jax.lax.with_sharding_constraint(v, at) for v, at in zip((codes, scales), places, strict=True))
    return codes, scales


def _largest(value: jax.Array, sides: Sides) -> jax.Array:
    """The largest size in each block; NaN where one is NaN, so that none is lost."""
    padded = jnp.pad(jnp.abs(value), [(0, -n % side) for n, side in zip(value.shape, sides, strict=True)])
    split = [m for n, side in zip(padded.shape, sides, strict=True) for m in (n // side, side)]
    return padded.reshape(split).max(tuple(range(1, len(split), 2)))


def _over_blocks(scales: jax.Array, sides: Sides, shape: tuple[int, ...]) -> jax.Array:
    """A number for each block at all of its places."""
    for axis, side in enumerate(sides):
        scales = jnp.repeat(scales, side, axis) if side > 1 else scales
    return scales[tuple(slice(n) for n in shape)]


# --- where they lie -----------------------------------------------------------------------------------


def cut_of_scales(
    cut: PartitionSpec, shape: tuple[int, ...], blocks: tuple[int, ...], parts: Mapping[str, int]
) -> PartitionSpec:
    """How the scales of an array are cut that is cut so itself: along the axes where no block is cut.

    Arguments:
        cut: of the array.
        shape: of the array.
        blocks: how many there are along each axis.
        parts: devices along each axis of the mesh.
    """

    def kept(names: Any, n: int, count: int) -> Any:
        devices = prod(parts[name] for name in (names if isinstance(names, tuple) else (names,)) if name is not None)
        return names if n % count == 0 and count % devices == 0 else None

    return PartitionSpec(*[kept(names, n, count) for names, n, count in zip(cut, shape, blocks, strict=False)])


def _places(value: Any, sides: Sides) -> tuple[NamedSharding, NamedSharding] | None:
    """Where codes and scales belong, of an array that is spread over devices; of a traced one the compiler decides."""
    where = None if isinstance(value, Tracer) else getattr(value, "sharding", None)
    if not isinstance(where, NamedSharding):
        return None
    blocks = tuple(-(-n // side) for n, side in zip(value.shape, sides, strict=True))
    cut = cut_of_scales(where.spec, value.shape, blocks, where.mesh.shape)
    return where, NamedSharding(where.mesh, cut)
