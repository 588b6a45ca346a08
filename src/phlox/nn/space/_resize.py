"""Layers that change the size of space: interpolation, and exchange with channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from phlox.core import Module, RangeError, describe, harmonise
from phlox.nn import functional as F
from phlox.nn._checks import Sizes, check_size
from phlox.nn._fused import fused

_MODES = ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area")


class Upsample(Module):
    r"""Resize the spatial axes by interpolation: $y_p = \sum_q w(source(p) - q)\, x_q$, the weights w summing to 1.

    Shapes:
        x: (batch, *space, channels); y: (batch, *space', channels), space' = size or floor(space · scale).

    Arguments:
        mode: "nearest", "nearest-exact", "linear" ("bilinear", "trilinear"), "bicubic" or "area".
        scale: output over input size; one number, or one per spatial axis.
        size: the output's elements; one int, or one per spatial axis. Give this or ``scale``.
        align_corners: map the centres of corner elements to one another; for the linear and cubic modes.
        antialias: when shrinking, widen the kernel to the output's elements; for the linear and cubic modes.

    Raises:
        RangeError: both or neither of scale and size, one that is not positive, an unknown mode.
        ShapeError: an input of another rank than the mode's.

    Source: Keys, "Cubic convolution interpolation for digital image processing", 1981.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.Upsample(scale=2)(jnp.array([[[1.0], [3.0]]])).ravel().tolist()
    [1.0, 1.0, 3.0, 3.0]
    """

    align_corners: bool
    antialias: bool

    def __init__(
        self,
        mode: str = "nearest",
        *,
        scale: float | Sequence[float] | None = None,
        size: Sizes | None = None,
        align_corners: bool = False,
        antialias: bool = False,
    ):
        name = "Upsample"
        if mode not in _MODES:
            fix = "choose one of them"
            raise RangeError(f"mode as one of {', '.join(_MODES)}", got=repr(mode), fix=fix, where=name)
        if (scale is None) == (size is None):
            got = "neither" if scale is None else "both"
            raise RangeError("one of scale and size", got=got, fix="give scale=2 or size=(…)", where=name)
        if align_corners and (mode.startswith("nearest") or mode == "area"):
            fix = "leave it out, or use a linear or cubic mode"
            raise RangeError(f"align_corners=False with mode {mode!r}", got="True", fix=fix, where=name)
        if antialias and (align_corners or mode.startswith("nearest") or mode == "area"):
            fix = "leave it out, or use a linear or cubic mode without align_corners"
            raise RangeError(f"antialias=False with mode {mode!r}", got="True", fix=fix, where=name)
        self.mode, self.align_corners, self.antialias = mode, align_corners, antialias
        self.scale: Any = scale if scale is None or isinstance(scale, (int, float)) else tuple(scale)
        scales: Any = self.scale if isinstance(self.scale, tuple) else () if scale is None else (scale,)
        for s in scales:
            if isinstance(s, bool) or not s > 0:
                raise RangeError("a scale above 0", got=repr(scale), fix="give output over input size", where=name)
        self.size: int | tuple[int, ...] | None = _checked(name, "size", size)

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        options: Any = {"scale": self.scale, "mode": self.mode, "align_corners": self.align_corners}
        options["antialias"] = self.antialias
        return _interpolate(F.identity, x, size=self.size, **options)

    def _brief(self) -> str:
        target = f"scale={self.scale}" if self.size is None else f"size={self.size}"
        return f"Upsample({self.mode!r}, {target})"


@fused("size", "scale", "mode", "align_corners", "antialias")
def _interpolate(act: Any, x: Any, **options: Any) -> jax.Array:
    return act(F.interpolate(x, **options))


class PixelShuffle(Module):
    r"""Move channels into space: $y_{r p + k,\, c} = x_{p,\, c |r| + k}$, each element becoming a block of r elements.

    Shapes:
        x: (batch, *space, channels · ∏r); y: (batch, *(space · r), channels).

    Arguments:
        factor: r, elements; one int, or one per spatial axis.

    Raises:
        RangeError: a factor below 1.
        ShapeError: channels that the block's elements do not divide.

    Source: Shi et al., "Real-time single image and video super-resolution", 2016.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.PixelShuffle(2)(jnp.arange(4.0).reshape(1, 1, 1, 4)).tolist()
    [[[[0.0], [1.0]], [[2.0], [3.0]]]]
    """

    def __init__(self, factor: Sizes):
        self.factor: int | tuple[int, ...] = _checked("PixelShuffle", "factor", factor)

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        return F.pixel_shuffle(x, self.factor)

    def _brief(self) -> str:
        return f"PixelShuffle({self.factor})"


class PixelUnshuffle(Module):
    r"""Move space into channels: $y_{p,\, c |r| + k} = x_{r p + k,\, c}$, the inverse of ``PixelShuffle``.

    Shapes:
        x: (batch, *(space · r), channels); y: (batch, *space, channels · ∏r).

    Arguments:
        factor: r, elements; one int, or one per spatial axis.

    Raises:
        RangeError: a factor below 1.
        ShapeError: space that the factor does not divide.

    Source: Shi et al., "Real-time single image and video super-resolution", 2016.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.PixelUnshuffle(2)(jnp.arange(4.0).reshape(1, 2, 2, 1)).tolist()
    [[[[0.0, 1.0, 2.0, 3.0]]]]
    """

    def __init__(self, factor: Sizes):
        self.factor: int | tuple[int, ...] = _checked("PixelUnshuffle", "factor", factor)

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        return F.pixel_unshuffle(x, self.factor)

    def _brief(self) -> str:
        return f"PixelUnshuffle({self.factor})"


def _checked(layer: str, name: str, value: Any) -> Any:
    """One size or several, each at least 1; None stays None."""
    if value is None or isinstance(value, int):
        return None if value is None else check_size(layer, name, value)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise RangeError(f"{name} as an int or ints", got=describe(value), fix="give whole numbers", where=layer)
    return tuple(check_size(layer, name, v) for v in value)
