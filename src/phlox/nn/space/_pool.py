"""Pooling: the largest or the mean of every window, or of all space."""

from __future__ import annotations

from typing import Any

import jax

from phlox.core import Module, RangeError, ShapeError, describe, harmonise
from phlox.nn import functional as F
from phlox.nn._checks import Padding, Sizes, padding_of, per_axis, sizes_of


class MaxPool(Module):
    r"""The largest element of every window: $y_p = \max_k x_{s p + k - lo}$; of equal ones the first has the gradient.

    Shapes:
        x: (batch, *space, channels); y: (batch, *space', channels), space' = (space + padding - window) // stride + 1.

    Arguments:
        window: elements along each spatial axis; an int for one axis.
        stride: elements from window to window; by default the window.
        padding: elements, as for ``Conv``; never the largest.
        dilation: elements from one position of the window to the next.
        ceil_mode: whether windows that reach past the high end count too.

    Raises:
        RangeError: a size below 1.
        ShapeError: an input of another rank, or smaller than the window.

    Source: Riesenhuber and Poggio, "Hierarchical models of object recognition in cortex", 1999.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.MaxPool((2, 2))(jnp.arange(16.0).reshape(1, 4, 4, 1)).ravel().tolist()
    [5.0, 7.0, 13.0, 15.0]
    """

    stride: tuple[int, ...] | None
    padding: Padding
    ceil_mode: bool

    def __init__(
        self,
        window: Sizes,
        *,
        stride: Sizes | None = None,
        padding: Padding = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
    ):
        name = type(self).__name__
        self.window: tuple[int, ...] = sizes_of(name, "window", window)
        self.stride = None if stride is None else per_axis(name, "stride", stride, len(self.window))
        self.padding, self.ceil_mode = padding_of(name, padding, len(self.window)), ceil_mode
        self.dilation: tuple[int, ...] = per_axis(name, "dilation", dilation, len(self.window))

    def __call__(self, x: Any) -> jax.Array:
        x = spatial(self, x, len(self.window))
        return F.max_pool(
            x, self.window, stride=self.stride, padding=self.padding, dilation=self.dilation, ceil_mode=self.ceil_mode
        )

    def _brief(self) -> str:
        return f"MaxPool({self.window})"


class MeanPool(Module):
    r"""The mean of every window: $y_p = \frac{1}{|window|} \sum_k x_{s p + k - lo}$, summed in float32 at least.

    Shapes:
        x: (batch, *space, channels); y: (batch, *space', channels), space' = (space + padding - window) // stride + 1.

    Arguments:
        window: elements along each spatial axis; an int for one axis.
        stride: elements from window to window; by default the window.
        padding: elements, as for ``Conv``.
        ceil_mode: whether windows that reach past the high end count too.
        count_include_pad: whether the zeros of padding count as elements in the mean.
        divisor_override: divide every sum by this number instead, not 0.

    Raises:
        RangeError: a size below 1.
        ShapeError: an input of another rank, or smaller than the window.

    Source: LeCun et al., "Gradient-based learning applied to document recognition", 1998.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.MeanPool((2, 2))(jnp.arange(16.0).reshape(1, 4, 4, 1)).ravel().tolist()
    [2.5, 4.5, 10.5, 12.5]
    """

    stride: tuple[int, ...] | None
    ceil_mode: bool
    count_include_pad: bool

    def __init__(
        self,
        window: Sizes,
        *,
        stride: Sizes | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: float | None = None,
    ):
        name = type(self).__name__
        self.window: tuple[int, ...] = sizes_of(name, "window", window)
        self.stride = None if stride is None else per_axis(name, "stride", stride, len(self.window))
        self.padding: Padding = padding_of(name, padding, len(self.window))
        if divisor_override is not None and not divisor_override:
            fix = "leave it out to divide by the window's elements"
            raise RangeError("a divisor_override that is not 0", got=repr(divisor_override), fix=fix, where=name)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def __call__(self, x: Any) -> jax.Array:
        x = spatial(self, x, len(self.window))
        return F.mean_pool(
            x, self.window, stride=self.stride, padding=self.padding, ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad, divisor_override=self.divisor_override,
        )  # fmt: skip

    def _brief(self) -> str:
        return f"MeanPool({self.window})"


class GlobalMeanPool(Module):
    r"""The mean over all of space, which stays as axes of size 1: $y_c = \frac{1}{|space|} \sum_p x_{p,c}$.

    Shapes:
        x: (batch, *space, channels); y: (batch, 1, …, 1, channels).

    Raises:
        ShapeError: an input without spatial axes.

    Source: Lin, Chen and Yan, "Network in network", 2014.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.GlobalMeanPool()(jnp.arange(4.0).reshape(1, 2, 2, 1)).ravel().tolist()
    [1.5]
    """

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        return F.global_mean_pool(x)


def spatial(layer: Module, x: Any, rank: int) -> jax.Array:
    """The input, checked to have a batch axis, ``rank`` spatial axes and channels."""
    (x,) = harmonise(layer, x)
    if x.ndim != rank + 2:
        space = ", ".join(["height", "width", "depth"][:rank]) if rank > 1 else "time"
        fix = "add a batch axis: x[None]" if x.ndim == rank + 1 else f"give it a window for {max(x.ndim - 2, 1)} axes"
        raise ShapeError(f"(batch, {space}, channels)", got=describe(x), fix=fix)
    return x
