"""Pooling by a p-norm, to a given size, and over all of space."""

from __future__ import annotations

from typing import Any

import jax

from phlox.core import Module, RangeError, ShapeError, describe, harmonise
from phlox.nn import functional as F
from phlox.nn._checks import OutputSizes, Padding, Sizes, output_sizes_of, padding_of, per_axis, sizes_of
from phlox.nn._fused import fused
from phlox.nn.space._pool import spatial


class LpPool(Module):
    r"""The p-norm of every window: $y_q = (\sum_k |x_{s q + k - lo}|^p)^{1/p}$; its gradient is 0 where the norm is.

    Shapes:
        x: (batch, *space, channels); y: (batch, *space', channels), space' = (space + padding - window) // stride + 1.

    Arguments:
        p: the exponent, at least 1; infinity gives the largest magnitude.
        window: elements along each spatial axis; an int for one axis.
        stride: elements from window to window; by default the window.
        padding: zeros, as for ``Conv``.
        ceil_mode: whether windows that reach past the high end count too.

    Raises:
        RangeError: p below 1, or a size below 1.
        ShapeError: an input of another rank, or smaller than the window.

    Source: Sermanet, Chintala and LeCun, "Convolutional neural networks applied to house numbers", 2012.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.LpPool(2, 2)(jnp.array([[[3.0], [4.0]]])).item()
    5.0
    """

    p: float
    window: tuple[int, ...]
    stride: tuple[int, ...] | None
    padding: Padding
    ceil_mode: bool

    def __init__(
        self,
        p: float,
        window: Sizes,
        *,
        stride: Sizes | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
    ):
        if isinstance(p, bool) or not p >= 1:
            raise RangeError("p of at least 1", got=repr(p), fix="use p=1, 2 or infinity", where="LpPool")
        self.p, self.window = float(p), sizes_of("LpPool", "window", window)
        self.stride = None if stride is None else per_axis("LpPool", "stride", stride, len(self.window))
        self.padding, self.ceil_mode = padding_of("LpPool", padding, len(self.window)), ceil_mode

    def __call__(self, x: Any) -> jax.Array:
        x = spatial(self, x, len(self.window))
        options: Any = {"stride": self.stride, "padding": self.padding, "ceil_mode": self.ceil_mode}
        return _lp(F.identity, x, p=self.p, window=self.window, **options)

    def _brief(self) -> str:
        return f"LpPool({self.p:g}, {self.window})"


@fused("p", "window", "stride", "padding", "ceil_mode")
def _lp(act: Any, x: Any, *, p: float, window: Any, **options: Any) -> jax.Array:
    return act(F.lp_pool(x, p, window, **options))


class AdaptiveMaxPool(Module):
    r"""The largest of windows chosen so that the output has a given size.

    $y_q = \max x_{⌊q n / m⌋ : ⌈(q + 1) n / m⌉}$ for n elements in and m out; of equal ones the first has the gradient.

    Shapes:
        x: (batch, *space, channels); y: (batch, *output_size, channels).

    Arguments:
        output_size: m, elements along each spatial axis, an int for one axis; None keeps an axis as it is.

    Raises:
        RangeError: a size below 1.
        ShapeError: an input of another rank.

    Source: He et al., "Spatial pyramid pooling in deep convolutional networks", 2014.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.AdaptiveMaxPool(2)(jnp.array([1.0, 3.0, 2.0, 0.0, 4.0]).reshape(1, 5, 1)).ravel().tolist()
    [3.0, 4.0]
    """

    def __init__(self, output_size: OutputSizes):
        self.output_size: tuple[int | None, ...] = output_sizes_of("AdaptiveMaxPool", output_size)

    def __call__(self, x: Any) -> jax.Array:
        return _adaptive_max(F.identity, spatial(self, x, len(self.output_size)), output_size=self.output_size)

    def _brief(self) -> str:
        return f"AdaptiveMaxPool({self.output_size})"


@fused("output_size")
def _adaptive_max(act: Any, x: Any, *, output_size: Any) -> jax.Array:
    return act(F.adaptive_max_pool(x, output_size))


class AdaptiveMeanPool(Module):
    r"""The mean of windows chosen so that the output has a given size, summed in float32 at least.

    $y_q = \overline{x_{⌊q n / m⌋ : ⌈(q + 1) n / m⌉}}$ for n elements in and m out.

    Shapes:
        x: (batch, *space, channels); y: (batch, *output_size, channels).

    Arguments:
        output_size: m, elements along each spatial axis, an int for one axis; None keeps an axis as it is.

    Raises:
        RangeError: a size below 1.
        ShapeError: an input of another rank.

    Source: He et al., "Spatial pyramid pooling in deep convolutional networks", 2014.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.AdaptiveMeanPool(2)(jnp.array([1.0, 3.0, 2.0, 0.0, 4.0]).reshape(1, 5, 1)).ravel().tolist()
    [2.0, 2.0]
    """

    def __init__(self, output_size: OutputSizes):
        self.output_size: tuple[int | None, ...] = output_sizes_of("AdaptiveMeanPool", output_size)

    def __call__(self, x: Any) -> jax.Array:
        return _adaptive_mean(F.identity, spatial(self, x, len(self.output_size)), output_size=self.output_size)

    def _brief(self) -> str:
        return f"AdaptiveMeanPool({self.output_size})"


@fused("output_size")
def _adaptive_mean(act: Any, x: Any, *, output_size: Any) -> jax.Array:
    return act(F.adaptive_mean_pool(x, output_size))


class GlobalMaxPool(Module):
    r"""The largest over all of space, which stays as axes of size 1: $y_c = \max_p x_{p,c}$.

    Shapes:
        x: (batch, *space, channels); y: (batch, 1, …, 1, channels).

    Raises:
        ShapeError: an input without spatial axes.

    Source: Oquab et al., "Is object localization for free?", 2015.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.GlobalMaxPool()(jnp.arange(4.0).reshape(1, 2, 2, 1)).ravel().tolist()
    [3.0]
    """

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        if not 3 <= x.ndim <= 5:
            fix = "give it a batch axis, 1 to 3 spatial axes and channels"
            raise ShapeError("(batch, *space, channels)", got=describe(x), fix=fix)
        return _global_max(F.identity, x)

    def _brief(self) -> str:
        return "GlobalMaxPool()"


@fused()
def _global_max(act: Any, x: Any) -> jax.Array:
    return act(F.global_max_pool(x))
