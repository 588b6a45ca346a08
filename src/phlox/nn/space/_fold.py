"""Patches of sliding windows, and their sum back into place, as layers."""

from __future__ import annotations

from typing import Any

import jax

from phlox.core import Module, ShapeError, describe, harmonise
from phlox.nn import functional as F
from phlox.nn._checks import Padding, Sizes, padding_of, per_axis, sizes_of
from phlox.nn._fused import fused


class Unfold(Module):
    r"""The patch that each position of a sliding window sees: $y_{p,\, k C + c} = x_{s p + d k - lo,\, c}$.

    Positions p and offsets k are in row-major order, C is the number of channels.

    Shapes:
        x: (batch, *space, channels); y: (batch, ∏space', ∏window · channels).

    Arguments:
        window: elements along each spatial axis; an int for one axis.
        stride, dilation: elements; one int, or one per spatial axis.
        padding: zeros, as for ``Conv``.

    Raises:
        RangeError: a size below 1.
        ShapeError: an input of another rank, or smaller than the window.

    Source: Chellapilla et al., "High performance convolutional neural networks for document processing", 2006.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.Unfold(2)(jnp.arange(4.0).reshape(1, 4, 1)).tolist()
    [[[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]]
    """

    def __init__(self, window: Sizes, *, stride: Sizes = 1, padding: Padding = 0, dilation: Sizes = 1):
        self.window: tuple[int, ...] = sizes_of("Unfold", "window", window)
        rank = len(self.window)
        self.stride: tuple[int, ...] = per_axis("Unfold", "stride", stride, rank)
        self.padding: Padding = padding_of("Unfold", padding, rank)
        self.dilation: tuple[int, ...] = per_axis("Unfold", "dilation", dilation, rank)

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        if x.ndim != len(self.window) + 2:
            fix = f"give it a batch axis, {len(self.window)} spatial axes and channels"
            raise ShapeError("(batch, *space, channels)", got=describe(x), fix=fix)
        options: Any = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return _unfold(F.identity, x, window=self.window, **options)

    def _brief(self) -> str:
        return f"Unfold({self.window})"


@fused("window", "stride", "padding", "dilation")
def _unfold(act: Any, x: Any, *, window: Any, **options: Any) -> jax.Array:
    return act(F.unfold(x, window, **options))


class Fold(Module):
    r"""Patches added back where ``Unfold`` cut them: $y_{s p + d k - lo,\, c} \mathrel{+}= x_{p,\, k C + c}$.

    Where windows overlap their patches add up, in float32 at least.

    Shapes:
        x: (batch, ∏space', ∏window · channels); y: (batch, *output_size, channels).

    Arguments:
        output_size: spatial sizes of what was unfolded; an int for one axis.
        window, stride, padding, dilation: as they were given to ``Unfold``.

    Raises:
        RangeError: a size below 1.
        ShapeError: an input that is not what such an ``Unfold`` returns.

    Source: Chellapilla et al., "High performance convolutional neural networks for document processing", 2006.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.Chain(px.nn.Unfold(2), px.nn.Fold(4, 2))(jnp.ones((1, 4, 1))).ravel().tolist()
    [1.0, 2.0, 2.0, 1.0]
    """

    def __init__(
        self, output_size: Sizes, window: Sizes, *, stride: Sizes = 1, padding: Padding = 0, dilation: Sizes = 1
    ):
        self.window: tuple[int, ...] = sizes_of("Fold", "window", window)
        rank = len(self.window)
        self.output_size: tuple[int, ...] = per_axis("Fold", "output_size", output_size, rank)
        self.stride: tuple[int, ...] = per_axis("Fold", "stride", stride, rank)
        self.padding: Padding = padding_of("Fold", padding, rank)
        self.dilation: tuple[int, ...] = per_axis("Fold", "dilation", dilation, rank)

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        options: Any = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return _fold(F.identity, x, output_size=self.output_size, window=self.window, **options)

    def _brief(self) -> str:
        return f"Fold({self.output_size}, {self.window})"


@fused("output_size", "window", "stride", "padding", "dilation")
def _fold(act: Any, x: Any, *, output_size: Any, window: Any, **options: Any) -> jax.Array:
    return act(F.fold(x, output_size, window, **options))
