"""Maps and convolutions for inference: a bias, a residual and an activation in the last pass of the product."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from phlox.core import Param, State, StructureError, harmonise
from phlox.nn import functional as F
from phlox.nn.features._dense import Dense
from phlox.nn.functional.kernels._inference import conv_act_kernel, packed, packed_map_kernel, unpacked
from phlox.nn.functional.space._window import plan_window
from phlox.nn.space._conv import Conv

Activation = Callable[[jax.Array], jax.Array]


class PackedDense(Dense):
    """A Dense whose weight lies as a CPU multiplies fastest; ``px.optimize_for_inference`` makes it of one.

    Shapes:
        x: (..., in); blocks: (out / 64, in, 64), padded with zeros; bias: (out,); y: (..., out).
    """

    blocks: State  # (out / 64, in, 64)
    bias: Param | None  # (out,)

    if TYPE_CHECKING:
        weight: Param
    else:

        @property
        def weight(self) -> jax.Array:
            """The weight (in, out) that the blocks hold."""
            return unpacked(self.blocks, self.in_size, self.out_size)

        @weight.setter
        def weight(self, value: Any) -> None:
            fix = "optimise the model anew, from the one that trains"
            raise StructureError("a weight that stays as it is", got="another one", fix=fix, where=self._brief())

    @classmethod
    def of_dense(cls, layer: Dense) -> PackedDense:
        """The layer with its weight in blocks."""
        self = cls.__new__(cls)
        self.in_size, self.out_size, self.act, self.bias = layer.in_size, layer.out_size, layer.act, layer.bias
        self.blocks = packed(layer.weight)
        return self

    def __call__(self, x: Any) -> jax.Array:
        given, blocks, bias = harmonise(self, x, self.blocks, self.bias)
        if given.ndim < 1 or given.shape[-1] != self.in_size:  # refused there
            return super().__call__(x)
        flat = given.reshape(math.prod(given.shape[:-1]), self.in_size)
        bias = jnp.zeros(self.out_size, blocks.dtype) if bias is None else bias
        y = packed_map_kernel(flat, blocks, bias, self.act)
        return super().__call__(x) if y is None else y.reshape(*given.shape[:-1], self.out_size)


class FusedConv(Conv):
    """A Conv with a bias that adds a residual and activates in the same pass; ``px.optimize_for_inference`` makes it.

    Shapes:
        x: (batch, *space, in); residual: as y, or None; y: (batch, *space', out).
    """

    @classmethod
    def of_conv(cls, layer: Conv) -> FusedConv:
        """The layer with a bias."""
        self = cls.__new__(cls)
        for name, value in vars(layer).items():
            setattr(self, name, value)
        if layer.bias is None:
            self.bias = jnp.zeros(layer.out_channels, layer.weight.dtype)
        return self

    def __call__(self, x: Any, residual: jax.Array | None = None, act: Activation | None = None) -> jax.Array:
        act = self.act if act is None else act
        y = self._by_kernel(x, residual, act)
        if y is not None:
            return y
        if residual is None and act is self.act:
            return super().__call__(x)
        given, weight, bias = harmonise(self, x, self.weight, self.bias)
        y = F.conv(given, weight, bias, **self._options())
        return act(y if residual is None else y + residual)

    def _by_kernel(self, x: Any, residual: jax.Array | None, act: Activation) -> jax.Array | None:
        given, weight, bias = harmonise(self, x, self.weight, self.bias)
        fits = given.ndim == len(self.kernel) + 2 and given.shape[-1] == self.in_channels
        if not fits or self.padding_mode != "zeros" or weight.size == 0 or given.size == 0:
            return None
        window = plan_window(given, self.kernel, self.stride, self.padding, self.dilation, "conv", len(self.kernel))
        return conv_act_kernel(given, weight, bias, residual, window, self.groups, act)

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups", "padding_mode")}


def added(layer: Any, x: jax.Array, residual: jax.Array, act: Activation = F.identity) -> jax.Array:
    """act(layer(x) + residual) of a layer with a convolution and a norm: in one pass where the norm is folded.

    Shapes:
        residual: as the layer's result.
    """
    conv = getattr(layer, "conv", None)
    if isinstance(conv, FusedConv) and conv.act is F.identity and layer.norm is F.identity:
        return conv(x, residual, act)
    return act(layer(x) + residual)
