"""Convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, RangeError, ShapeError, describe, harmonise, key_or_draw, param_dtype
from phlox.nn import functional as F
from phlox.nn import init as inits
from phlox.nn._autosize import sized
from phlox.nn._checks import (
    Padding,
    Sizes,
    check_act,
    check_padding_mode,
    check_size,
    padding_of,
    per_axis,
    sizes_of,
)
from phlox.nn._fused import fused


@sized(in_channels=-1)
class Conv(Module):
    r"""A convolution over 1, 2 or 3 spatial axes (cross-correlation), then an activation.

    $y_{p,o} = σ(b_o + \sum_{k,i} x_{s p + d k - lo,\, i} W_{k,i,o})$ with stride s, dilation d and low padding lo.

    Shapes:
        x: (batch, *space, in); weight: (*kernel, in / groups, out); bias: (out,); y: (batch, *space', out).

    Arguments:
        kernel: size along each spatial axis; its length is the number of spatial axes (an int is one axis).
        in_channels: channels of the input.
        out_channels: channels of the output.
        act: σ, applied to the result.
        stride, dilation: elements; one int, or one per spatial axis.
        padding: elements: one int, one per axis, ``(low, high)`` pairs, or "SAME", "VALID", "CAUSAL".
        padding_mode: "zeros", "reflect", "symmetric", "circular" or "replicate".
        groups: blocks of channels, each convolved by itself; divides both channel counts.
        bias: whether to add b, which starts at zero.
        init: initialiser of the weight, ``init(key, shape, dtype)``.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1, or groups that do not divide the channels.
        ShapeError: an input of another rank, or of other channels, or smaller than the kernel.

    Source: LeCun et al., "Backpropagation applied to handwritten zip code recognition", 1989.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.Conv((3, 3), 1, 8, px.relu, padding="SAME")(jnp.ones((2, 28, 28, 1))).shape
    (2, 28, 28, 8)
    """

    weight: Param  # (*kernel, in / groups, out)
    bias: Param | None  # (out,)

    def __init__(
        self,
        kernel: Sizes,
        in_channels: int,
        out_channels: int,
        act: Callable[[jax.Array], jax.Array] = F.identity,
        *,
        stride: Sizes = 1,
        padding: Padding = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        init: Callable[..., jax.Array] = inits.glorot_uniform,
        key: Any = None,
    ):
        self.kernel: tuple[int, ...] = sizes_of("Conv", "kernel", kernel)
        self.in_channels: int = check_size("Conv", "in_channels", in_channels)
        self.out_channels: int = check_size("Conv", "out_channels", out_channels)
        self.act: Callable[[jax.Array], jax.Array] = check_act("Conv", act)
        rank = len(self.kernel)
        self.stride: tuple[int, ...] = per_axis("Conv", "stride", stride, rank)
        self.padding: Padding = padding_of("Conv", padding, rank)
        self.dilation: tuple[int, ...] = per_axis("Conv", "dilation", dilation, rank)
        self.groups: int = check_size("Conv", "groups", groups)
        self.padding_mode: str = check_padding_mode("Conv", padding_mode)
        if in_channels % groups or out_channels % groups:
            raise RangeError(
                f"groups that divide in_channels={in_channels} and out_channels={out_channels}",
                got=str(groups),
                fix="choose a divisor of both",
                where="Conv",
            )
        shape = (*self.kernel, in_channels // groups, out_channels)
        self.weight = init(key_or_draw(key), shape, param_dtype())
        self.bias = jnp.zeros(out_channels, param_dtype()) if bias else None

    @classmethod
    def of(
        cls,
        weight: jax.Array,
        bias: jax.Array | None = None,
        act: Callable[[jax.Array], jax.Array] = F.identity,
        *,
        groups: int = 1,
        **options: Any,
    ) -> Conv:
        """A layer around given arrays, weight (\\*kernel, in / groups, out) and bias (out,) or None."""
        *kernel, per_group, out = weight.shape
        self = cls(
            kernel, per_group * groups, out, act, groups=groups, bias=False, init=_Given(weight), key=0, **options
        )
        if bias is not None and bias.shape != (out,):
            raise ShapeError(
                f"bias ({out},)", got=describe(bias), fix="give one number per output channel", where="Conv.of"
            )
        self.bias = bias
        return self

    def __call__(self, x: Any) -> jax.Array:
        x, weight, bias = harmonise(self, x, self.weight, self.bias)
        if x.ndim != len(self.kernel) + 2 or x.shape[-1] != self.in_channels:
            space = ", ".join(["height", "width", "depth"][: len(self.kernel)]) if len(self.kernel) > 1 else "time"
            raise ShapeError(f"(batch, {space}, {self.in_channels})", got=describe(x), fix=self._cure(x))
        return _forward(
            self.act, x, weight, bias, stride=self.stride, padding=self.padding, dilation=self.dilation,
            groups=self.groups, padding_mode=self.padding_mode,
        )  # fmt: skip

    def _cure(self, x: jax.Array) -> str:
        if x.ndim == len(self.kernel) + 1:
            return "add a batch axis: x[None], or a channel axis at the end: x[..., None]"
        if x.ndim == len(self.kernel) + 2 and x.shape[1] == self.in_channels:
            return "move the channels to the last axis: jnp.moveaxis(x, 1, -1)"
        return f"give the layer before {self.in_channels} output channels, or this one in_channels={x.shape[-1]}"

    def _brief(self) -> str:
        act = "" if self.act is F.identity else f", {getattr(self.act, '__name__', self.act)}"
        return f"Conv({self.kernel}, {self.in_channels} → {self.out_channels}{act})"


@fused("stride", "padding", "dilation", "groups", "padding_mode")
def _forward(
    act: Any, x: jax.Array, weight: jax.Array, bias: jax.Array | None, **options: Any
) -> jax.Array:  # the layer's own options, static
    return act(F.conv(x, weight, bias, **options))


class _Given:
    """An initialiser that gives the array it holds."""

    def __init__(self, value: jax.Array):
        self.value = value

    def __call__(self, key: Any, shape: Any, dtype: Any) -> jax.Array:
        del key, shape, dtype
        return self.value
