"""Convolutions and their transposes over 1 to 3 spatial axes, channels last."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.nn.functional._numeric import beside, spread
from phlox.nn.functional.kernels._conv import conv_kernel, conv_transpose_kernel
from phlox.nn.functional.space._conv_forms import convolve, transpose
from phlox.nn.functional.space._padding import pad_spatial
from phlox.nn.functional.space._window import (
    Padding,
    Sizes,
    Window,
    explicit_pairs,
    is_int,
    known,
    per_axis,
    plan_window,
)

__all__ = ["conv", "conv_transpose", "depthwise_conv"]


@answering
def conv(
    x: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> jax.Array:
    """Convolve the spatial axes with a kernel (cross-correlation, as everywhere in deep learning).

    Formula: ``y[n, p, o] = bias[o] + Σ_{k, i} x[n, stride·p + dilation·k - low, i] · weight[k, i, o]``, where the
    channels of output ``o`` are those of its group.

    Shapes: ``x`` (batch, *space, in), ``weight`` (*kernel, in/groups, out), ``bias`` (out,) →
    (batch, *space', out), with ``space' = (space + low + high - dilation·(kernel - 1) - 1) // stride + 1``.
    The rank of ``weight`` says whether there are 1, 2 or 3 spatial axes.

    Arguments:
        stride, dilation: elements; one int, or one per spatial axis.
        padding: elements; one int, one per spatial axis, ``(low, high)`` pairs per spatial axis, or a name:
            ``"VALID"`` none; ``"SAME"`` so that ``space' = ceil(space / stride)``, the odd element at the high side;
            ``"CAUSAL"`` all of it at the low side of the first spatial axis (time), so that ``y[t]`` sees
            nothing after ``x[t]``, and ``"SAME"`` on the others.
        groups: number of blocks that input and output channels are cut into, each convolved by itself.
        padding_mode: what is padded: ``"zeros"``, ``"reflect"``, ``"symmetric"``, ``"circular"``, ``"replicate"``.

    Raises:
        ShapeError: rank, channels or bias do not fit the weight, or the kernel exceeds the padded input.
        RangeError: ``groups`` does not divide ``out``; a stride or dilation below 1; padding below 0.

    >>> x = jnp.arange(4.0).reshape(1, 4, 1)
    >>> conv(x, jnp.ones((2, 1, 1))).ravel().tolist()
    [1.0, 3.0, 5.0]
    >>> conv(x, jnp.ones((2, 1, 1)), padding="CAUSAL").ravel().tolist()
    [0.0, 1.0, 3.0, 5.0]

    Source: LeCun et al. 1989, Backpropagation applied to handwritten zip code recognition.
    """
    x, weight = _operands(x, weight, "conv")
    rank, channels = weight.ndim - 2, weight.shape[-1]
    _check_groups(groups, channels, "out channels", weight, "conv")
    _check_channels(x, weight.shape[-2] * groups, weight, groups, "conv")
    window = plan_window(x, weight.shape[:-2], stride, padding, dilation, "conv", rank)
    bias = _check_bias(bias, channels, "conv")
    if padding_mode != "zeros":
        x = pad_spatial(x, window.padding, padding_mode, "conv")
        window = window.inside()
    return _convolve(x, weight, bias, window, int(groups))


@answering
def depthwise_conv(
    x: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    padding_mode: str = "zeros",
) -> jax.Array:
    """Convolve every channel by itself, with one or more kernels each.

    Formula: ``y[n, p, m·c + j] = bias[m·c + j] + Σ_k x[n, stride·p + dilation·k - low, c] · weight[k, 0, m·c + j]``,
    which is :func:`conv` with as many groups as input channels.

    Shapes: ``x`` (batch, *space, channels), ``weight`` (*kernel, 1, channels·m), ``bias`` (channels·m,) →
    (batch, *space', channels·m).

    Arguments and errors: as :func:`conv`.

    >>> x = jnp.stack([jnp.arange(4.0), jnp.ones(4)], -1)[None]
    >>> depthwise_conv(x, jnp.ones((2, 1, 2))).tolist()
    [[[1.0, 2.0], [3.0, 2.0], [5.0, 2.0]]]

    Source: Chollet 2017, Xception (arXiv:1610.02357).
    """
    weight = jnp.asarray(weight)
    channels = jnp.shape(x)[-1]
    if weight.ndim < 3 or weight.shape[-2] != 1 or channels == 0 or weight.shape[-1] % channels:
        raise ShapeError(
            f"a weight (*kernel, 1, channels·m) for {channels} channels",
            got=describe(weight),
            fix="give one kernel (or m) per input channel, with an axis of 1 before the last",
            where="depthwise_conv",
        )
    return conv(
        x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=channels, padding_mode=padding_mode
    )


@answering
def conv_transpose(
    x: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: Sizes = 1,
    padding: Padding = 0,
    output_padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> jax.Array:
    """Apply the transpose of a convolution: each input element adds its kernel to the output.

    Formula: ``y[n, stride·p + dilation·k - low, o] += x[n, p, i] · weight[k, i, o]`` over all p, k, i of a group, plus
    ``bias[o]``. With ``groups=1`` this is the gradient of :func:`conv` with respect to its input, for the weight
    with its last two axes swapped.

    Shapes: ``x`` (batch, *space, in), ``weight`` (*kernel, in, out/groups), ``bias`` (out,) → (batch, *space', out),
    with ``space' = (space - 1)·stride - low - high + dilation·(kernel - 1) + output_padding + 1``.
    PyTorch's weight (in, out/groups, *kernel) becomes this one by moving its first two axes to the end.

    Arguments:
        stride, dilation: elements; one int, or one per spatial axis.
        padding: elements cut from the output; one int, one per spatial axis, ``(low, high)`` pairs per spatial axis,
            ``"VALID"`` (none) or ``"SAME"`` (so that ``space' = space·stride``).
        output_padding: elements added at the high side, below the larger of stride and dilation; with
            ``"SAME"`` it must be 0.
        groups: number of blocks that input and output channels are cut into.

    Raises:
        ShapeError: rank, channels or bias do not fit the weight, or nothing is left of the output.
        RangeError: ``groups`` does not divide ``in``; a stride or dilation below 1; padding below 0; output_padding
            too large.

    >>> conv_transpose(jnp.array([[[1.0], [2.0]]]), jnp.ones((3, 1, 1)), stride=2).ravel().tolist()
    [1.0, 1.0, 3.0, 2.0, 2.0]

    Source: Zeiler et al. 2010, Deconvolutional networks; sizes as in ``torch.nn.ConvTranspose2d``.
    """
    where = "conv_transpose"
    x, weight = _operands(x, weight, where)
    _check_groups(groups, weight.shape[-2], "in channels", weight, where)
    _check_channels(x, weight.shape[-2], weight, 1, where)
    bias = _check_bias(bias, weight.shape[-1] * groups, where)
    window = _plan_transpose(x, weight, stride, padding, output_padding, dilation)
    y = _transpose(x, weight, window, int(groups))
    return y if bias is None else plus_bias(y, bias)


def _operands(x: Any, weight: Any, where: str) -> tuple[jax.Array, jax.Array]:
    """Both arrays in their common dtype, after a check of the ranks."""
    x, weight = jnp.asarray(x), jnp.asarray(weight)
    if not 3 <= weight.ndim <= 5:
        raise ShapeError(
            "a weight (*kernel, channels, channels) with 1 to 3 kernel axes",
            got=describe(weight),
            fix="put the kernel's axes first and the output channels last",
            where=where,
        )
    if x.ndim != weight.ndim:
        raise ShapeError(
            f"(batch, {', '.join(('depth', 'height', 'width')[5 - weight.ndim :])}, channels) for a weight of shape "
            f"{weight.shape}",
            got=describe(x),
            fix="add the missing batch axis (x[None])" if x.ndim == weight.ndim - 1 else "match the weight's rank",
            where=where,
        )
    dtype = jnp.result_type(x, weight)
    if not jnp.issubdtype(dtype, jnp.inexact):
        dtype = jnp.result_type(dtype, jnp.float32)
    return x.astype(dtype), weight.astype(dtype)


def _check_groups(groups: int, channels: int, name: str, weight: jax.Array, where: str) -> None:
    if not is_int(groups) or groups < 1:
        raise RangeError("groups as an int of at least 1", got=repr(groups), fix="use groups=1", where=where)
    if channels % groups:
        raise RangeError(
            f"groups that divide the {channels} {name} of weight {describe(weight)}",
            got=f"groups={groups}",
            fix=f"choose a divisor of {channels}",
            where=where,
        )


def _check_channels(x: jax.Array, channels: int, weight: jax.Array, groups: int, where: str) -> None:
    if x.shape[-1] != channels:
        of = f"weight {describe(weight)}" + (f" and groups={groups}" if groups > 1 else "")
        raise ShapeError(
            f"{channels} channels in the last axis (from {of})",
            got=describe(x),
            fix="put channels last (NHWC), or match the weight's input channels",
            where=where,
        )


def _check_bias(bias: Any, channels: int, where: str) -> jax.Array | None:
    if bias is None:
        return None
    bias = jnp.asarray(bias)
    if bias.shape != (channels,):
        raise ShapeError(
            f"a bias of shape ({channels},)", got=describe(bias), fix="one per output channel", where=where
        )
    return bias


def _convolve(x: jax.Array, weight: jax.Array, bias: jax.Array | None, window: Window, groups: int) -> jax.Array:
    y = conv_kernel(x, weight, bias, window, groups)
    if y is None:
        y = convolve(x, weight, window, groups)
        y = y if bias is None else plus_bias(y, bias)
    return y


def plus_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    """A number added to each channel, whose gradient is summed over batch and space in float32 at least."""
    return y + (spread(bias, y.shape) if bias.dtype == y.dtype else beside(bias, y.ndim))


def _transpose(x: jax.Array, weight: jax.Array, window: Window, groups: int) -> jax.Array:
    whole = tuple((n - 1) * s + e for n, s, e in zip(x.shape[1:-1], window.stride, window.span, strict=True))
    sizes = tuple(n - lo - hi for n, (lo, hi) in zip(whole, window.padding, strict=True))
    y = conv_transpose_kernel(x, weight, dataclasses.replace(window, inputs=sizes), groups)
    return transpose(x, weight, window, groups) if y is None else y


def _plan_transpose(
    x: jax.Array, weight: jax.Array, stride: Sizes, padding: Padding, output_padding: Sizes, dilation: Sizes
) -> Window:
    """The window with the padding that turns the strided, spread input into the output by a plain convolution."""
    where, rank, size = "conv_transpose", weight.ndim - 2, weight.shape[:-2]
    stride = per_axis(stride, rank, "stride", where, least=1)
    dilation = per_axis(dilation, rank, "dilation", where, least=1)
    extra = per_axis(output_padding, rank, "output_padding", where, least=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise RangeError(
            f"output_padding below the larger of stride {stride} and dilation {dilation}",
            got=repr(output_padding),
            fix="use a smaller output_padding",
            where=where,
        )
    spans = tuple(d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True))
    if isinstance(padding, str):
        surplus = _surplus(padding, spans, stride, any(extra), where)
        cut = tuple((max(c, 0) // 2, c - max(c, 0) // 2) for c in surplus)
    else:
        cut = explicit_pairs(padding, rank, where)
    # Kept as the crop of the full output: negative at the high side where the output is extended.
    crop = tuple((lo, hi - e) for (lo, hi), e in zip(cut, extra, strict=True))
    for axis, (n, s, e, (lo, hi)) in enumerate(zip(x.shape[1:-1], stride, spans, crop, strict=True)):
        if known(n) and (n - 1) * s + e - lo - hi < 1:
            raise ShapeError(
                f"padding that leaves something of the output along spatial axis {axis}",
                got=f"{(n - 1) * s + e} less {lo + hi} from {describe(x)}",
                fix="use less padding",
                where=where,
            )
    return Window(x.shape[1:-1], size, stride, dilation, crop)


def _surplus(
    padding: str, spans: tuple[int, ...], stride: tuple[int, ...], extended: bool, where: str
) -> tuple[int, ...]:
    name = padding.upper()
    if name not in ("SAME", "VALID"):
        raise RangeError('padding "SAME", "VALID" or counts', got=repr(padding), fix="use one of them", where=where)
    if name == "VALID":
        return (0,) * len(spans)
    if extended:
        raise RangeError(
            'output_padding 0 with padding "SAME"', got="both", fix="give the padding as counts", where=where
        )
    return tuple(e - s for e, s in zip(spans, stride, strict=True))
