"""Dense and convolutions with integer weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.compress._integers import numbers
from phlox.compress.layers import _products, _weight_kernel, _whole
from phlox.compress.layers._products import Entry, Held
from phlox.compress.layers._quantized import Quantized, birth
from phlox.core import Module, Param, harmonise
from phlox.nn import Conv, ConvTranspose, Dense, DepthwiseConv, fused, whole_wanted
from phlox.nn import functional as F


class IntegerProducts(Quantized):
    """A layer that may take what comes in as integers too."""

    bias: Param | None  # (outs,)

    def arrays(self, x: Any) -> tuple[Any, Held, Any]:
        """The input in the dtype that the layer computes in, what it is multiplied with, and the bias."""
        x, _, bias = harmonise(self, x, jnp.zeros((), self.weight_dtype), self.bias)
        x = x if self.factors is None else x * self.factors.astype(x.dtype)
        entry = Entry(self.input_scale, self.input_zero) if self.inputs == "static" else None
        return x, Held(self.integers, entry), bias


class QuantizedDense(IntegerProducts, Dense):
    r"""A Dense whose weight is integers: $y = σ(x W + b)$ with $W = s (q - z)$.

    Shapes:
        x: (..., in); y: (..., out); codes: (in, out), of 4 bits (in / 2, out); scale, zero: (groups, out).

    Arguments:
        as of ``px.Dense``, whose weight is drawn and rounded; ``bits``, ``group``, ``symmetric`` and ``per`` as of
        ``px.compress.quantize``, which makes it of a layer that there is.

    Raises:
        RangeError: options outside their range.

    Source: Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
    inference", 2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> layer = px.compress.QuantizedDense(3, 2, px.relu, bits=8, key=0)
    >>> layer(jnp.ones((5, 3))).shape, layer.codes.dtype.name
    ((5, 2), 'int8')
    """

    kind: ClassVar[type[Module]] = Dense
    if not TYPE_CHECKING:
        __init__: Any = birth(Dense)

    def __call__(self, x: Any) -> jax.Array:
        if jnp.shape(x)[-1:] != (self.in_size,):  # which is refused there
            return super().__call__(x)
        if self.inputs is not None or (self.factors is not None and whole_wanted()):
            return _dense(self.act, *self.arrays(x), bits=self.bits, group=self.group, inputs=self.inputs)
        lead = jnp.shape(x)[:-1]
        if isinstance(self.bits, int) and _weight_kernel.takes(lead, self.integers, self.weight_dtype, -2):
            return _few_rows(self.act, *self.arrays(x), bits=self.bits, group=self.group)
        return super().__call__(x)


class QuantizedConv(IntegerProducts, Conv):
    """A Conv whose weight is integers; an output sums over the kernel and the channels of its group.

    Shapes:
        x: (batch, *space, in); y: (batch, *space', out); codes: (kernel · in / groups, out), of 4 bits half as many
        rows.

    Arguments:
        as of ``px.Conv`` and ``px.compress.quantize``.

    >>> import phlox as px
    >>> px.compress.QuantizedConv((3, 3), 2, 4, bits=4, key=0).codes.shape
    (9, 4)
    """

    kind: ClassVar[type[Module]] = Conv
    if not TYPE_CHECKING:
        __init__: Any = birth(Conv)

    def __call__(self, x: Any) -> jax.Array:
        if self.inputs is None or not _fits(x, self.kernel, self.in_channels):
            return super().__call__(x)
        return _conv(self.act, *self.arrays(x), groups=self.groups, **_options(self))


class QuantizedDepthwiseConv(IntegerProducts, DepthwiseConv):
    """A DepthwiseConv whose weight is integers.

    Shapes:
        x: (batch, *space, channels); y: (batch, *space', channels · m); codes: (kernel, channels · m).

    Arguments:
        as of ``px.DepthwiseConv`` and ``px.compress.quantize``.

    >>> import phlox as px
    >>> px.compress.QuantizedDepthwiseConv((3, 3), 4, bits=8, key=0).codes.shape
    (9, 4)
    """

    kind: ClassVar[type[Module]] = DepthwiseConv
    if not TYPE_CHECKING:
        __init__: Any = birth(DepthwiseConv)

    def __call__(self, x: Any) -> jax.Array:
        if self.inputs is None or not _fits(x, self.kernel, self.channels):
            return super().__call__(x)
        return _conv(self.act, *self.arrays(x), groups=self.channels, **_options(self))


class QuantizedConvTranspose(Quantized, ConvTranspose):
    """A ConvTranspose whose weight is integers.

    Shapes:
        x: (batch, *space, in); y: (batch, *space', out); codes: (kernel · in, out / groups).

    Arguments:
        as of ``px.ConvTranspose`` and ``px.compress.quantize``.

    >>> import phlox as px
    >>> px.compress.QuantizedConvTranspose((2, 2), 3, 4, bits=8, key=0).codes.shape
    (12, 4)
    """

    kind: ClassVar[type[Module]] = ConvTranspose
    if not TYPE_CHECKING:
        __init__: Any = birth(ConvTranspose)


def _fits(x: Any, kernel: tuple[int, ...], channels: int) -> bool:
    """Whether a layer takes an input; where it does not, the layer of floats says why."""
    return jnp.ndim(x) == len(kernel) + 2 and jnp.shape(x)[-1] == channels


def _options(layer: Any) -> dict[str, Any]:
    return {
        "bits": layer.bits, "shape": layer.weight_shape, "stride": layer.stride, "padding": layer.padding,
        "dilation": layer.dilation, "padding_mode": layer.padding_mode,
    }  # fmt: skip


@fused("bits", "group", "inputs")
def _dense(act: Any, x: Any, held: Held, bias: Any, *, bits: Any, group: int | None, inputs: str | None) -> jax.Array:
    if not whole_wanted():
        return act(_products.dense(x, held, bias, bits=bits))
    y = _whole.dense(x, held, bits=bits, group=group, inputs=inputs)
    return act(y if bias is None else y + bias.astype(y.dtype))


@fused("bits", "shape", "stride", "padding", "dilation", "groups", "padding_mode")
def _conv(act: Any, x: Any, held: Held, bias: Any, **options: Any) -> jax.Array:
    if not whole_wanted():
        return act(_products.conv(x, held, bias, **options))
    y = _whole.conv(x, held, **options)
    return act(y if bias is None else y + bias.astype(y.dtype))


@fused("bits", "group")
def _few_rows(act: Any, x: Any, held: Held, bias: Any, *, bits: int, group: int | None) -> jax.Array:
    y = _weight_kernel.product(x, held.given, bits=bits, group=group, axis=-2)
    if y is None:
        y = F.dense(x, numbers(held.given, bits, group, x.shape[-1], -2).astype(x.dtype))
    return act(y if bias is None else y + bias)
