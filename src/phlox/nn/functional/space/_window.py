"""The plan of a sliding window: sizes, strides, dilation and padding made explicit and checked once.

Convolutions, pools and patches read the same arguments in the same forms. ``plan_window`` turns them
into a ``Window``, whose numbers the functions then follow without further questions.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from phlox.core import RangeError, ShapeError, describe

Sizes = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[tuple[int, int]]
Pairs = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Window:
    """A window over the spatial axes of ``(batch, *space, channels)``; every field has one entry per axis."""

    inputs: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Pairs

    @property
    def rank(self) -> int:
        return len(self.size)

    @property
    def span(self) -> tuple[int, ...]:
        """The extent of the window on the input, dilation included."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.size, self.dilation, strict=True))

    @property
    def padded(self) -> tuple[int, ...]:
        return tuple(n + lo + hi for n, (lo, hi) in zip(self.inputs, self.padding, strict=True))

    @property
    def outputs(self) -> tuple[int, ...]:
        return tuple((n - e) // s + 1 for n, e, s in zip(self.padded, self.span, self.stride, strict=True))

    @property
    def abuts(self) -> bool:
        """Whether the windows lie side by side, with neither padding nor gaps."""
        return self.size == self.stride == self.span and not any(map(any, self.padding))

    @property
    def tiles(self) -> bool:
        """Whether the windows cover the input exactly, side by side."""
        return self.abuts and all(known(n) and n % k == 0 for n, k in zip(self.inputs, self.size, strict=True))

    def inside(self) -> Window:
        """The same window over the input once its padding has been added."""
        return dataclasses.replace(self, inputs=self.padded, padding=((0, 0),) * self.rank)

    def offsets(self) -> Iterator[tuple[int, ...]]:
        """The positions in the window, in row-major order."""
        return itertools.product(*map(range, self.size))

    def along(self, x: jax.Array, axis: int, offset: int) -> jax.Array:
        """What position ``offset`` of the window sees along one spatial axis of the padded ``x``."""
        start, stride = offset * self.dilation[axis], self.stride[axis]
        stop = start + (self.outputs[axis] - 1) * stride + 1
        if start == 0 and stride == 1 and stop == x.shape[axis + 1]:
            return x
        return lax.slice_in_dim(x, start, stop, stride, axis + 1)

    def at(self, x: jax.Array, offsets: tuple[int, ...]) -> jax.Array:
        """What one position of the window sees of the padded ``x``: ``(batch, *outputs, channels)``."""
        for axis, offset in enumerate(offsets):
            x = self.along(x, axis, offset)
        return x


def plan_window(
    x: jax.Array | jax.ShapeDtypeStruct,
    size: Sizes,
    stride: Sizes | None,
    padding: Padding,
    dilation: Sizes,
    where: str,
    rank: int | None = None,
) -> Window:
    """Check the arguments of a sliding window over ``x`` and make them explicit (stride ``None`` is the size)."""
    inputs = spatial_sizes(x, where, rank)
    rank = len(inputs)
    size = per_axis(size, rank, "window", where, least=1)
    stride = size if stride is None else per_axis(stride, rank, "stride", where, least=1)
    dilation = per_axis(dilation, rank, "dilation", where, least=1)
    window = Window(inputs, size, stride, dilation, ((0, 0),) * rank)
    window = dataclasses.replace(window, padding=padding_pairs(padding, window, where))
    for axis, (n, e) in enumerate(zip(window.padded, window.span, strict=True)):
        if known(n) and n < e:
            lo, hi = window.padding[axis]
            raise ShapeError(
                f"a padded input of at least {e} along spatial axis {axis}, the extent of its window",
                got=f"{inputs[axis]} + {lo} + {hi} in {describe(x)}",
                fix="use a smaller window or dilation, more padding, or a larger input",
                where=where,
            )
    return window


def spatial_sizes(x: jax.Array | jax.ShapeDtypeStruct, where: str, rank: int | None = None) -> tuple[int, ...]:
    """The sizes between batch and channels, where ``x`` has 1 to 3 of them (or ``rank``)."""
    if rank is not None and x.ndim != rank + 2:
        raise ShapeError(
            f"(batch, {', '.join(('depth', 'height', 'width')[3 - rank :])}, channels)",
            got=describe(x),
            fix="add the missing batch axis (x[None])" if x.ndim == rank + 1 else "give one axis per name",
            where=where,
        )
    if not 3 <= x.ndim <= 5:
        raise ShapeError(
            "(batch, *space, channels) with 1 to 3 spatial axes",
            got=describe(x),
            fix="give a leading batch axis and a trailing channel axis",
            where=where,
        )
    return x.shape[1:-1]


def known(n: Any) -> bool:
    """Whether a size is a number, not a symbol of an exported shape."""
    return isinstance(n, int)


def is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def per_axis(value: Sizes, rank: int, name: str, where: str, *, least: int) -> tuple[int, ...]:
    """One int, or one per spatial axis, as a tuple; each at least ``least``."""
    values: tuple[Any, ...] = (value,) * rank
    if not is_int(value):
        values = tuple(value) if isinstance(value, (Sequence, np.ndarray)) else ()
    if isinstance(value, str) or len(values) != rank or not all(map(is_int, values)):
        raise RangeError(
            f"{name} as one int or {rank} (one per spatial axis)",
            got=repr(value),
            fix=f"give {name} as an int or a tuple of {rank}",
            where=where,
        )
    if min(values) < least:
        raise RangeError(f"{name} of at least {least}", got=repr(value), fix=f"raise {name} to {least}", where=where)
    return tuple(int(v) for v in values)


def explicit_pairs(padding: Sizes | Sequence[tuple[int, int]], rank: int, where: str) -> Pairs:
    """An int, ints per axis or (low, high) pairs per axis, as pairs of counts that are not negative."""
    pairs: Any = padding
    if is_int(padding):
        pairs = ((padding, padding),) * rank
    elif isinstance(padding, (Sequence, np.ndarray)) and not isinstance(padding, str) and all(map(is_int, padding)):
        pairs = tuple((p, p) for p in padding)
    try:
        pairs = tuple((lo, hi) for lo, hi in pairs)
    except (TypeError, ValueError):
        pairs = ()
    if len(pairs) != rank or not all(is_int(p) for pair in pairs for p in pair):
        raise RangeError(
            f"padding as one int, {rank} (one per spatial axis) or {rank} pairs (low, high)",
            got=repr(padding),
            fix=f"write {', '.join(['(low, high)'] * rank)} inside a tuple",
            where=where,
        )
    if any(p < 0 for pair in pairs for p in pair):
        raise RangeError("padding of at least 0", got=repr(padding), fix="crop with a slice instead", where=where)
    return tuple((int(lo), int(hi)) for lo, hi in pairs)


def padding_pairs(padding: Padding, window: Window, where: str) -> Pairs:
    """Any form of padding as (low, high) pairs for this window."""
    if not isinstance(padding, str):
        return explicit_pairs(padding, window.rank, where)
    name = padding.upper()
    if name == "VALID":
        return ((0, 0),) * window.rank
    if name not in ("SAME", "CAUSAL"):
        raise RangeError(
            'padding "SAME", "VALID", "CAUSAL" or explicit counts',
            got=repr(padding),
            fix="use one of them",
            where=where,
        )
    same = tuple(lax.padtype_to_pads(window.inputs, window.span, window.stride, "SAME"))
    pairs = tuple((int(lo) if known(lo) else lo, int(hi) if known(hi) else hi) for lo, hi in same)
    return ((window.span[0] - 1, 0), *pairs[1:]) if name == "CAUSAL" else pairs
