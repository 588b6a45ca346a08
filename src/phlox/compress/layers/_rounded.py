"""Layers that train with rounded weights: floats that compute as the nearest integers would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.compress._integers import grid, ranges, spread
from phlox.compress._scheme import Scheme
from phlox.compress.layers._products import INPUT
from phlox.compress.layers._quantized import matrix_of, rank_of, with_attributes
from phlox.core import Module, State, custom_vjp
from phlox.nn import Conv, ConvTranspose, Dense, DepthwiseConv, Embedding, fused
from phlox.nn import functional as F

MOMENTUM = 0.99
_OWN = ("bits", "group", "symmetric", "per", "inputs", "input_low", "input_high")


@custom_vjp
def through(x: jax.Array, low: jax.Array, high: jax.Array, scale: jax.Array, zero: jax.Array) -> jax.Array:
    r"""$s\,(\mathrm{clip}(\mathrm{round}(x / s) + z) - z)$, whose gradient is that of x within the range, else 0.

    Shapes:
        x, y: any; scale, zero: as x, or of sizes 1; low, high: (), the smallest and the largest integer.

    Source: Bengio, Léonard and Courville, "Estimating or propagating gradients through stochastic neurons for
    conditional computation", 2013: the straight-through estimator.
    """
    return (jnp.clip(jnp.round(x / scale) + zero, low, high) - zero) * scale


def _forward(x: Any, low: Any, high: Any, scale: Any, zero: Any) -> tuple[Any, Any]:
    codes = jnp.round(x / scale) + zero
    return (jnp.clip(codes, low, high) - zero) * scale, (codes >= low) & (codes <= high)


def _backward(within: Any, g: Any) -> tuple[Any, ...]:
    return jnp.where(within, g, 0), None, None, None, None


through.defvjp(_forward, _backward)


class Rounded(Module):
    """A layer that computes with the nearest integers of its weight, and trains the floats that they are of.

    ``weight`` reads as what it computes with; the array under that path is of floats. What comes in may be rounded
    too: with scales of each token or image, or with a range that follows the data in training.
    """

    bits: int
    group: int | None
    symmetric: bool
    per: str
    inputs: str | None
    input_low: State | None  # () of static inputs, moved in training
    input_high: State | None  # ()
    kind: ClassVar[type[Module]]
    axis: ClassVar[int] = -2

    if not TYPE_CHECKING:

        @property
        def weight(self) -> jax.Array:
            """The nearest integers of the weight times their scales; gradients reach the floats."""
            raw = self.__dict__["weight"]
            if not hasattr(raw, "dtype"):  # in a mapped tree
                return raw
            return _weight(F.identity, raw, scheme=self.scheme, rank=rank_of(self), axis=self.axis)

        @weight.setter
        def weight(self, value: Any) -> None:
            self.__dict__["weight"] = value

    @property
    def scheme(self) -> Scheme:
        """How the weight is rounded."""
        return Scheme(self.bits, self.group, self.symmetric, self.per, type(self).__name__)

    def hold(self, layer: Any, scheme: Scheme, inputs: str | None) -> Any:
        """Become a layer that rounds its weight."""
        ends = [jnp.asarray(jnp.nan, jnp.float32)] * 2 if inputs == "static" else [None, None]
        own = {
            "bits": scheme.bits, "group": scheme.group, "symmetric": scheme.symmetric, "per": scheme.per,
            "inputs": inputs, "input_low": ends[0], "input_high": ends[1],
        }  # fmt: skip
        self.__setstate__(with_attributes(layer, own))
        return self

    def plain(self) -> Any:
        """The layer of floats, whose weight is not rounded."""
        layer: Any = self.kind.__new__(self.kind)
        layer.__setstate__(with_attributes(self, {}, *_OWN))
        return layer

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(x if self.inputs is None else self._entering(x), *args, **kwargs)

    def _entering(self, x: Any) -> jax.Array:
        """What came in, rounded; the range follows it in training."""
        x = jnp.asarray(x)
        if self.inputs == "dynamic":
            axes = tuple(range(1, x.ndim)) if hasattr(self, "kernel") else (-1,)
            return _dynamic(F.identity, x, axes=axes)
        if self.training:
            self.input_low, self.input_high = _followed(F.identity, x, self.input_low, self.input_high)
        return _static(F.identity, x, self.input_low, self.input_high)


class RoundedDense(Rounded, Dense):
    """A Dense that trains with a rounded weight; ``px.compress.prepare`` makes it."""

    kind: ClassVar[type[Module]] = Dense


class RoundedConv(Rounded, Conv):
    """A Conv that trains with a rounded weight."""

    kind: ClassVar[type[Module]] = Conv


class RoundedDepthwiseConv(Rounded, DepthwiseConv):
    """A DepthwiseConv that trains with a rounded weight."""

    kind: ClassVar[type[Module]] = DepthwiseConv


class RoundedConvTranspose(Rounded, ConvTranspose):
    """A ConvTranspose that trains with a rounded weight."""

    kind: ClassVar[type[Module]] = ConvTranspose


class RoundedEmbedding(Rounded, Embedding):
    """An Embedding that trains with rounded vectors."""

    kind: ClassVar[type[Module]] = Embedding
    axis: ClassVar[int] = -1


@fused("scheme", "rank", "axis")
def _weight(act: Any, weight: Any, *, scheme: Scheme, rank: int, axis: int) -> jax.Array:
    matrix = matrix_of(weight, rank, axis)
    still = jax.lax.stop_gradient(matrix.astype(jnp.promote_types(weight.dtype, jnp.float32)))
    scale, zero = ranges(still, scheme, axis)
    size = matrix.shape[axis]
    scale = spread(scale, size, scheme.group, axis)
    zero = jnp.zeros_like(scale) if zero is None else spread(zero, size, scheme.group, axis).astype(scale.dtype)
    least, most = (jnp.asarray(end, scale.dtype) for end in (scheme.least, scheme.most))
    return act(through(matrix.astype(scale.dtype), least, most, scale, zero).reshape(weight.shape).astype(weight.dtype))


@fused("axes")
def _dynamic(act: Any, x: Any, *, axes: tuple[int, ...]) -> jax.Array:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    most = jnp.asarray(127, wide.dtype)
    scale = jax.lax.stop_gradient(jnp.abs(wide)).max(axes, keepdims=True) / most
    scale = jnp.where(scale > 0, scale, 1)
    return act(through(wide, -most, most, scale, jnp.zeros_like(scale)).astype(x.dtype))


@fused()
def _static(act: Any, x: Any, low: Any, high: Any) -> jax.Array:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    scale, zero = grid(low.astype(wide.dtype), high.astype(wide.dtype), INPUT)
    least, most = (jnp.asarray(end, wide.dtype) for end in (INPUT.least, INPUT.most))
    zero = jnp.asarray(zero, wide.dtype)
    return act(jnp.where(jnp.isnan(low), wide, through(wide, least, most, scale, zero)).astype(x.dtype))


@fused()
def _followed(act: Any, x: Any, low: Any, high: Any) -> tuple[jax.Array, jax.Array]:
    """The range moved towards that of an input; the first sets it."""
    still = jax.lax.stop_gradient(x).astype(low.dtype)
    ends = ((low, still.min()), (high, still.max()))
    low, high = (jnp.where(jnp.isnan(end), new, MOMENTUM * end + (1 - MOMENTUM) * new) for end, new in ends)
    return act(low), act(high)
