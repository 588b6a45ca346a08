"""Kinds of convolution: transposed, and each channel by itself."""

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
from phlox.nn._label import act_text
from phlox.nn.functional.space._window import explicit_pairs

Activation = Callable[[jax.Array], jax.Array]


@sized(in_channels=-1)
class ConvTranspose(Module):
    r"""The transpose of a convolution over 1, 2 or 3 spatial axes, then an activation: it enlarges space.

    $y_{s p + d k - lo,\, o} \mathrel{+}= x_{p, i} W_{k,i,o}$ over all p, k, i of a group, plus $b_o$, then σ.

    Shapes:
        x: (batch, *space, in); weight: (*kernel, in, out / groups); bias: (out,); y: (batch, *space', out),
        space' = (space - 1) stride - low - high + dilation (kernel - 1) + output_padding + 1.

    Arguments:
        kernel: size along each spatial axis; its length is the number of spatial axes (an int is one axis).
        in_channels: channels of the input.
        out_channels: channels of the output.
        act: σ, applied to the result.
        stride, dilation: elements; one int, or one per spatial axis.
        padding: elements cut from the output: one int, one per axis, ``(low, high)`` pairs, "VALID", or "SAME"
            (space' = space · stride).
        output_padding: elements added at the high side, below the larger of stride and dilation.
        groups: blocks of channels, each by itself; divides both channel counts.
        bias: whether to add b, which starts at zero.
        init: initialiser of the weight, ``init(key, shape, dtype)``.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Options of a call:
        output_size: the size of space' to reach, an int or one per spatial axis, in place of ``output_padding``.

    Raises:
        RangeError: a size below 1, groups that do not divide the channels, or an output_padding out of range.
        ShapeError: an input of another rank, or of other channels, or nothing left of the output.

    Source: Zeiler et al., "Deconvolutional networks", 2010.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.ConvTranspose((4, 4), 8, 3, stride=2, padding=1)(jnp.ones((2, 7, 7, 8))).shape
    (2, 14, 14, 3)
    """

    weight: Param  # (*kernel, in, out / groups)
    bias: Param | None  # (out,)
    act: Activation

    def __init__(
        self,
        kernel: Sizes,
        in_channels: int,
        out_channels: int,
        act: Activation = F.identity,
        *,
        stride: Sizes = 1,
        padding: Padding = 0,
        output_padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        init: Callable[..., jax.Array] = inits.glorot_uniform,
        key: Any = None,
    ):
        name = "ConvTranspose"
        self.kernel: tuple[int, ...] = sizes_of(name, "kernel", kernel)
        self.in_channels: int = check_size(name, "in_channels", in_channels)
        self.out_channels: int = check_size(name, "out_channels", out_channels)
        self.act, rank = check_act(name, act), len(self.kernel)
        self.stride: tuple[int, ...] = per_axis(name, "stride", stride, rank)
        self.padding: Padding = padding_of(name, padding, rank, ("SAME", "VALID"))
        self.dilation: tuple[int, ...] = per_axis(name, "dilation", dilation, rank)
        self.output_padding: tuple[int, ...] = per_axis(name, "output_padding", output_padding, rank, least=0)
        self.groups: int = check_size(name, "groups", groups)
        _check_groups(name, groups, in_channels, out_channels)
        _check_output_padding(self)
        shape = (*self.kernel, in_channels, out_channels // groups)
        self.weight = init(key_or_draw(key), shape, param_dtype())
        self.bias = jnp.zeros(out_channels, param_dtype()) if bias else None

    @classmethod
    def of(
        cls,
        weight: jax.Array,
        bias: jax.Array | None = None,
        act: Activation = F.identity,
        *,
        groups: int = 1,
        **options: Any,
    ) -> ConvTranspose:
        """A layer around given arrays, weight (\\*kernel, in, out / groups) and bias (out,) or None."""
        *kernel, channels, per_group = weight.shape
        given = lambda key, shape, dtype: weight  # noqa: E731
        self = cls(kernel, channels, per_group * groups, act, groups=groups, bias=False, init=given, key=0, **options)
        if bias is not None and bias.shape != (self.out_channels,):
            fix = "give one number for each output channel"
            raise ShapeError(f"bias ({self.out_channels},)", got=describe(bias), fix=fix, where="ConvTranspose.of")
        self.bias = bias
        return self

    def __call__(self, x: Any, *, output_size: Sizes | None = None) -> jax.Array:
        x, weight, bias = harmonise(self, x, self.weight, self.bias)
        _check_input(x, len(self.kernel), self.in_channels, "in_channels")
        extra = self.output_padding if output_size is None else self._reaching(output_size, x.shape[1:-1])
        return _transpose(
            self.act, x, weight, bias, stride=self.stride, padding=self.padding, output_padding=extra,
            dilation=self.dilation, groups=self.groups,
        )  # fmt: skip

    def _reaching(self, output_size: Sizes, space: tuple[int, ...]) -> tuple[int, ...]:
        """The output_padding that gives this output size."""
        wanted = per_axis(self._brief(), "output_size", output_size, len(self.kernel))
        spans = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        least = [(n - 1) * s + e for n, s, e in zip(space, self.stride, spans, strict=True)]
        if isinstance(self.padding, str):
            if self.padding.upper() == "SAME":
                least = [n * s for n, s in zip(space, self.stride, strict=True)]
        else:
            pairs = explicit_pairs(self.padding, len(space), "ConvTranspose")
            least = [n - lo - hi for n, (lo, hi) in zip(least, pairs, strict=True)]
        most = [n + max(s, d) - 1 for n, s, d in zip(least, self.stride, self.dilation, strict=True)]
        if any(not low <= n <= high for low, n, high in zip(least, wanted, most, strict=True)):
            ranges = ", ".join(f"{low} to {high}" for low, high in zip(least, most, strict=True))
            fix = "choose a size in the range, or another stride or padding"
            raise RangeError(f"an output_size of {ranges} for space {space}", got=repr(output_size), fix=fix)
        return tuple(n - low for n, low in zip(wanted, least, strict=True))

    def _brief(self) -> str:
        return f"ConvTranspose({self.kernel}, {self.in_channels} → {self.out_channels}{act_text(self.act)})"


@fused("stride", "padding", "output_padding", "dilation", "groups")
def _transpose(act: Any, x: Any, weight: Any, bias: Any, **options: Any) -> jax.Array:
    return act(F.conv_transpose(x, weight, bias, **options))


@sized(channels=-1)
class DepthwiseConv(Module):
    r"""A convolution of every channel by itself, with one or more kernels each, then an activation.

    $y_{p, m c + j} = σ(b_{m c + j} + \sum_k x_{s p + d k - lo,\, c} W_{k, 0, m c + j})$ for j below the multiplier m.

    Shapes:
        x: (batch, *space, channels); weight: (*kernel, 1, channels · m); bias: (channels · m,);
        y: (batch, *space', channels · m).

    Arguments:
        kernel: size along each spatial axis; its length is the number of spatial axes (an int is one axis).
        channels: channels of the input.
        multiplier: m, kernels for each channel.
        act: σ, applied to the result.
        stride, dilation: elements; one int, or one per spatial axis.
        padding: elements: one int, one per axis, ``(low, high)`` pairs, or "SAME", "VALID", "CAUSAL".
        padding_mode: "zeros", "reflect", "symmetric", "circular" or "replicate".
        bias: whether to add b, which starts at zero.
        init: initialiser of the weight, ``init(key, shape, dtype)``.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1.
        ShapeError: an input of another rank, or of other channels, or smaller than the kernel.

    Source: Chollet, "Xception: deep learning with depthwise separable convolutions", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.DepthwiseConv((3, 3), 8, 2, padding="SAME")(jnp.ones((2, 7, 7, 8))).shape
    (2, 7, 7, 16)
    """

    weight: Param  # (*kernel, 1, channels · multiplier)
    bias: Param | None  # (channels · multiplier,)
    act: Activation

    def __init__(
        self,
        kernel: Sizes,
        channels: int,
        multiplier: int = 1,
        act: Activation = F.identity,
        *,
        stride: Sizes = 1,
        padding: Padding = 0,
        dilation: Sizes = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        init: Callable[..., jax.Array] = inits.glorot_uniform,
        key: Any = None,
    ):
        name = "DepthwiseConv"
        self.kernel: tuple[int, ...] = sizes_of(name, "kernel", kernel)
        self.channels: int = check_size(name, "channels", channels)
        self.multiplier: int = check_size(name, "multiplier", multiplier)
        self.act, rank = check_act(name, act), len(self.kernel)
        self.stride: tuple[int, ...] = per_axis(name, "stride", stride, rank)
        self.padding: Padding = padding_of(name, padding, rank)
        self.dilation: tuple[int, ...] = per_axis(name, "dilation", dilation, rank)
        self.padding_mode: str = check_padding_mode(name, padding_mode)
        self.weight = init(key_or_draw(key), (*self.kernel, 1, channels * multiplier), param_dtype())
        self.bias = jnp.zeros(channels * multiplier, param_dtype()) if bias else None

    def __call__(self, x: Any) -> jax.Array:
        x, weight, bias = harmonise(self, x, self.weight, self.bias)
        _check_input(x, len(self.kernel), self.channels, "channels")
        return _depthwise(
            self.act, x, weight, bias, stride=self.stride, padding=self.padding, dilation=self.dilation,
            padding_mode=self.padding_mode,
        )  # fmt: skip

    def _brief(self) -> str:
        out = self.channels * self.multiplier
        return f"DepthwiseConv({self.kernel}, {self.channels} → {out}{act_text(self.act)})"


@fused("stride", "padding", "dilation", "padding_mode")
def _depthwise(act: Any, x: Any, weight: Any, bias: Any, **options: Any) -> jax.Array:
    return act(F.depthwise_conv(x, weight, bias, **options))


def _check_groups(name: str, groups: int, in_channels: int, out_channels: int) -> None:
    if in_channels % groups or out_channels % groups:
        raise RangeError(
            f"groups that divide in_channels={in_channels} and out_channels={out_channels}",
            got=str(groups),
            fix="choose a common divisor of the two",
            where=name,
        )


def _check_output_padding(layer: ConvTranspose) -> None:
    most = [max(s, d) for s, d in zip(layer.stride, layer.dilation, strict=True)]
    if any(e >= m for e, m in zip(layer.output_padding, most, strict=True)):
        raise RangeError(
            f"output_padding below the larger of stride {layer.stride} and dilation {layer.dilation}",
            got=repr(layer.output_padding),
            fix="use a smaller output_padding",
            where="ConvTranspose",
        )


def _check_input(x: jax.Array, rank: int, channels: int, name: str) -> None:
    if x.ndim == rank + 2 and x.shape[-1] == channels:
        return
    space = ", ".join(["depth", "height", "width"][3 - rank :]) if rank > 1 else "time"
    if x.ndim == rank + 1:
        fix = "add a batch axis: x[None], or a channel axis at the end: x[..., None]"
    elif x.ndim == rank + 2 and x.shape[1] == channels:
        fix = "channels are the last axis: jnp.moveaxis(x, 1, -1)"
    else:
        fix = f"give the layer before {channels} output channels, or this one {name}={x.shape[-1] if x.ndim else 1}"
    raise ShapeError(f"(batch, {space}, {channels})", got=describe(x), fix=fix)
