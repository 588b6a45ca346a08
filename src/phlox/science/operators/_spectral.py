"""Convolutions as wide as the domain, as products of Fourier coefficients."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from phlox.core import Module, Param, RangeError, ShapeError, check_size, describe, harmonise, key_or_draw, param_dtype
from phlox.nn import fused
from phlox.nn.functional import identity


class SpectralConv(Module):
    r"""A convolution as wide as the domain: $y(x) = \mathrm{Re} \sum_{|k| < m} c_k\, \hat u_k W_k\, e^{2πi\,k·x}$.

    Each Fourier coefficient of the input of a low frequency is multiplied by a matrix of its own, all others are left
    out: the layer means the same on every grid. The sum goes over frequencies k whose last is 0 or more; $c_k$ is 1
    where that is 0, else 2, for those below, of which a real field tells nothing new. Frequencies that a coarse grid
    cannot tell apart are left out there.

    Shapes:
        x: (batch, \*space, in), samples on a periodic grid; y: (batch, \*space, out); weight: (2, \*frequencies, in,
        out), real and imaginary parts, with 2m − 1 frequencies 0, 1, …, m − 1, 1 − m, …, −1 along each axis but the
        last, and m along that.

    Arguments:
        modes: m along each spatial axis, whole waves in the domain; its length is the number of spatial axes, 1 to 3
            (an int is one axis).
        in_channels: channels of the input.
        out_channels: channels of the output.
        key: where the weight is drawn from, with E|W|² = 2 / (in + out); by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1, or modes of more than three axes.
        ShapeError: an input of another rank, or of other channels.

    Source: Li et al., "Fourier neural operator for parametric partial differential equations", 2021; its kernel is not
    symmetric in k, this one is.

    >>> import phlox as px
    >>> conv = px.science.SpectralConv((4, 4), 1, 8)
    >>> px.nn.output_shape(conv, (2, 16, 16, 1)), px.nn.output_shape(conv, (2, 31, 5, 1))
    ((2, 16, 16, 8), (2, 31, 5, 8))
    """

    weight: Param  # (2, *frequencies, in, out)
    modes: tuple[int, ...]
    in_channels: int
    out_channels: int
    parameter_kinds: ClassVar = {"weight": ("matrix", 2)}  # of each frequency

    def __init__(self, modes: int | Sequence[int], in_channels: int, out_channels: int, *, key: Any = None):
        self.modes = check_modes("SpectralConv", modes)
        self.in_channels = check_size("SpectralConv", "in_channels", in_channels)
        self.out_channels = check_size("SpectralConv", "out_channels", out_channels)
        *others, last = self.modes
        shape = (2, *(2 * m - 1 for m in others), last, in_channels, out_channels)
        std = 1 / math.sqrt(in_channels + out_channels)  # of each part
        self.weight = std * jax.random.normal(key_or_draw(key), shape, param_dtype())

    def __call__(self, x: Any) -> jax.Array:
        x, weight = harmonise(self, x, self.weight)
        check_field(x, len(self.modes), self.in_channels)
        return _convolved(identity, x, weight, modes=self.modes)

    def _brief(self) -> str:
        return f"SpectralConv({self.modes}, {self.in_channels} → {self.out_channels})"


def check_modes(layer: str, modes: Any) -> tuple[int, ...]:
    """A number of frequencies for each of 1 to 3 spatial axes."""
    found = tuple(modes) if isinstance(modes, Sequence) else (modes,)
    if not 1 <= len(found) <= 3:
        fix = "give one number for each spatial axis, such as (12, 12)"
        raise RangeError("modes for 1, 2 or 3 spatial axes", got=repr(modes), fix=fix, where=layer)
    return tuple(check_size(layer, "modes", m) for m in found)


def check_field(x: jax.Array, rank: int, channels: int) -> None:
    """Raise unless ``x`` is (batch, *space, channels)."""
    if x.ndim == rank + 2 and x.shape[-1] == channels:
        return
    space = ", ".join(("height", "width", "depth")[:rank]) if rank > 1 else "points"
    fix = f"give it {channels} channels, or this layer in_channels={x.shape[-1] if x.ndim else 1}"
    if x.ndim == rank + 1:
        fix = "add a channel axis at the end: x[..., None], or a batch axis: x[None]"
    elif x.ndim == rank + 2 and x.shape[1] == channels:
        fix = "move the channels to the last axis: jnp.moveaxis(x, 1, -1)"
    raise ShapeError(f"(batch, {space}, {channels})", got=describe(x), fix=fix)


@fused("modes")
def _convolved(act: Any, x: jax.Array, weight: jax.Array, *, modes: tuple[int, ...]) -> jax.Array:
    wide = jnp.promote_types(x.dtype, jnp.float32)  # there is no transform in 16 bits
    z, w, space = x.astype(wide), weight.astype(wide), x.shape[1:-1]
    last = len(modes)  # the spatial axes are 1 to last, of x and of the weight alike
    kept = [min(m, (n + 1) // 2) for m, n in zip(modes, space, strict=True)]
    z = lax.slice_in_dim(jnp.fft.rfft(z, axis=last, norm="forward"), 0, kept[-1], axis=last)
    w = lax.slice_in_dim(w, 0, kept[-1], axis=last)
    for axis in range(1, last):
        z = _low(jnp.fft.fft(z, axis=axis, norm="forward"), kept[axis - 1], axis)
        w = _low(w, kept[axis - 1], axis)
    z = _multiplied(z, w)
    for axis in range(1, last):
        z = jnp.fft.ifft(_among_zeros(z, space[axis - 1], axis), axis=axis, norm="forward")
    return act(jnp.fft.irfft(z, space[-1], axis=last, norm="forward").astype(x.dtype))


def _multiplied(z: jax.Array, w: jax.Array) -> jax.Array:
    """Coefficients (batch, *frequencies, in) times their matrices, by products of real numbers, which are faster."""
    times = functools.partial(jnp.einsum, "b...i,...io->b...o")
    a, b = jnp.real(z), jnp.imag(z)
    return lax.complex(times(a, w[0]) - times(b, w[1]), times(a, w[1]) + times(b, w[0]))


def _low(z: jax.Array, kept: int, axis: int) -> jax.Array:
    """Of frequencies 0, 1, …, −1 those below ``kept``, in this order."""
    n = z.shape[axis]
    ends = (0, kept), (n - kept + 1, n)
    return jnp.concatenate([lax.slice_in_dim(z, a, b, axis=axis) for a, b in ends], axis)


def _among_zeros(z: jax.Array, n: int, axis: int) -> jax.Array:
    """The inverse of ``_low``: n frequencies, 0 where there was nothing."""
    size = z.shape[axis]
    kept = (size + 1) // 2
    between = jnp.zeros((*z.shape[:axis], n - size, *z.shape[axis + 1 :]), z.dtype)
    low, high = (lax.slice_in_dim(z, a, b, axis=axis) for a, b in ((0, kept), (kept, size)))
    return jnp.concatenate([low, between, high], axis)
