"""Layers for inference: weights lie as a CPU multiplies fastest, and what stands behind a product is in its pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, State, StructureError, dtypes, harmonise, policy
from phlox.nn import functional as F
from phlox.nn.features._dense import Dense
from phlox.nn.features._embedding import Embedding
from phlox.nn.functional._numeric import is_concrete, on_host
from phlox.nn.functional.kernels._inference import (
    activation_code,
    blocks_of,
    conv_act_kernel,
    packed,
    packed_kernel,
    packed_map_kernel,
    unpacked,
    unpacked_kernel,
)
from phlox.nn.functional.space._window import plan_window
from phlox.nn.space._conv import Conv

Activation = Callable[[jax.Array], jax.Array]


_NOMINAL = 14  # pixels along each axis, of an input that a weight's blocks are asked for


def _standing(where: str) -> StructureError:
    fix = "optimise the model anew, from the one that trains"
    return StructureError("a weight that stays as it is", got="another one", fix=fix, where=where)


class InBfloat16(Module):
    """A model that computes in bfloat16 and takes and gives float32; ``px.optimize_for_inference`` makes it.

    Shapes:
        those of the model.
    """

    model: Module

    def __init__(self, model: Module):
        self.model = model

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with dtypes(compute=jnp.bfloat16):
            y = self.model(*args, **kwargs)
        return jax.tree.map(lambda a: a.astype(jnp.float32) if a.dtype == jnp.bfloat16 else a, y)


class PackedDense(Dense):
    """A Dense whose weight lies as a CPU multiplies fastest; ``px.optimize_for_inference`` makes it of one.

    Shapes:
        x: (..., in); blocks: (out / 64, in, 64), of bfloat16 (out / 64, in / 2, 64, 2), padded with zeros; bias:
        (out,); y: (..., out).
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
            raise _standing(self._brief())

    @classmethod
    def of_dense(cls, layer: Dense) -> PackedDense:
        """The layer with its weight in blocks."""
        self = cls.__new__(cls)
        self.in_size, self.out_size, self.act, self.bias = layer.in_size, layer.out_size, layer.act, layer.bias
        self.blocks = packed(on_host(layer.weight))
        return self

    def __call__(self, x: Any) -> jax.Array:
        given, blocks, bias = harmonise(self, x, self.blocks, self.bias)
        if given.ndim < 1 or given.shape[-1] != self.in_size:  # refused there
            return super().__call__(x)
        flat = given.reshape(math.prod(given.shape[:-1]), self.in_size)
        bias = jnp.zeros(self.out_size, blocks.dtype) if bias is None else bias
        known = activation_code(self.act) is not None
        y = packed_map_kernel(flat, blocks, bias, self.act if known else F.identity)
        if y is None:
            return super().__call__(x)
        y = y.reshape(*given.shape[:-1], self.out_size)
        return y if known else self.act(y)


class PackedEmbedding(Embedding):
    """An Embedding that scores too, in blocks as a CPU multiplies fastest; ``px.optimize_for_inference`` makes it.

    Shapes:
        indices: (...), integers in [0, num); blocks: (num / 64, dim, 64), of bfloat16 (num / 64, dim / 2, 64, 2),
        padded with zeros; y: (..., dim).
    """

    blocks: State  # (num / 64, dim, 64)

    if TYPE_CHECKING:
        weight: Param
    else:

        @property
        def weight(self) -> jax.Array:
            """The vectors (num, dim) that the blocks hold."""
            return unpacked(self.blocks, self.dim, self.num).T

        @weight.setter
        def weight(self, value: Any) -> None:
            raise _standing(self._brief())

    @classmethod
    def of_embedding(cls, layer: Embedding) -> PackedEmbedding:
        """The layer with its vectors in blocks."""
        self = cls.__new__(cls)
        self.num, self.dim, self.padding_idx = layer.num, layer.dim, layer.padding_idx
        self.blocks = packed(on_host(layer.weight).T)
        return self

    def __call__(self, indices: Any) -> jax.Array:
        indices = jnp.asarray(indices)
        inside = (indices >= 0) & (indices < self.num)
        if not jnp.issubdtype(indices.dtype, jnp.integer) or (is_concrete(inside) and not bool(inside.all())):
            return super().__call__(indices)  # refused there
        at = jnp.where(inside, indices, self.blocks.shape[0] * self.blocks.shape[2])  # beyond the last block it is NaN
        block, column = at // self.blocks.shape[2], at % self.blocks.shape[2]
        y = self.blocks.at[block, :, column].get(mode="fill", fill_value=jnp.nan)
        y = y.reshape(*indices.shape, -1)[..., : self.dim]
        compute = policy().compute
        return y if compute is None else y.astype(compute)

    def attend(self, x: jax.Array) -> jax.Array:
        """Scores of every index for vectors x (..., dim): (..., num)."""
        y = None
        if x.shape[-1:] == (self.dim,):
            flat = x.reshape(math.prod(x.shape[:-1]), self.dim)
            y = packed_map_kernel(flat, self.blocks, jnp.zeros(self.num, self.blocks.dtype), F.identity)
        return super().attend(x) if y is None else y.reshape(*x.shape[:-1], self.num)


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

    def _laid(self) -> jax.Array:
        """The weight as the kernel is given it."""
        return self.weight

    def _by_kernel(self, x: Any, residual: jax.Array | None, act: Activation) -> jax.Array | None:
        given, weight, bias = harmonise(self, x, self._laid(), self.bias)
        fits = given.ndim == len(self.kernel) + 2 and given.shape[-1] == self.in_channels
        if not fits or self.padding_mode != "zeros" or weight.size == 0 or given.size == 0:
            return None
        window = plan_window(given, self.kernel, self.stride, self.padding, self.dilation, "conv", len(self.kernel))
        return conv_act_kernel(given, weight, bias, residual, window, self.groups, act)

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups", "padding_mode")}


class PackedConv(FusedConv):
    """A FusedConv whose weight lies in blocks as a CPU multiplies fastest; ``px.optimize_for_inference`` makes it.

    Shapes:
        x: (batch, *space, in); blocks: (out / outs, in / ins, *kernel, ins, outs), of bfloat16 (out / outs, *kernel,
        in / 32, 16, outs, 2), padded with zeros; y: (batch, *space', out).
    """

    blocks: State  # (out / outs, in / ins, *kernel, ins, outs)
    bias: Param | None  # (out,)

    if TYPE_CHECKING:
        weight: Param
    else:

        @property
        def weight(self) -> jax.Array:
            """The weight (*kernel, in, out) that the blocks hold."""
            return unpacked_kernel(self.blocks, self.in_channels, self.out_channels)

        @weight.setter
        def weight(self, value: Any) -> None:
            raise _standing(self._brief())

    @classmethod
    def of_fused(cls, layer: FusedConv) -> FusedConv:
        """The layer with its weight in blocks; itself where the kernel wants none."""
        if layer.groups != 1 or layer.padding_mode != "zeros":
            return layer
        like = jax.ShapeDtypeStruct(
            (1, *(max(_NOMINAL, d * (k - 1) + 1) for k, d in zip(layer.kernel, layer.dilation, strict=True)), 1),
            layer.weight.dtype,
        )
        window = plan_window(like, layer.kernel, layer.stride, layer.padding, layer.dilation, "conv", len(layer.kernel))
        block = blocks_of(layer.weight, window, layer.act)
        if block is None:
            return layer
        self = cls.__new__(cls)
        for name, value in vars(layer).items():
            if name != "weight":
                setattr(self, name, value)
        self.blocks = packed_kernel(on_host(layer.weight), *block)
        return self

    def _laid(self) -> jax.Array:
        return self.blocks


def added(layer: Any, x: jax.Array, residual: jax.Array, act: Activation = F.identity) -> jax.Array:
    """act(layer(x) + residual) of a layer with a convolution and a norm: in one pass where the norm is folded.

    Shapes:
        residual: as the layer's result.
    """
    conv = getattr(layer, "conv", None)
    if isinstance(conv, FusedConv) and conv.act is F.identity and layer.norm is F.identity:
        return conv(x, residual, act)
    return act(layer(x) + residual)
