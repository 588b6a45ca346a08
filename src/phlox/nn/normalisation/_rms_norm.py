"""Normalisation without a mean: by the root mean square, and by the responses of neighbouring channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, RangeError, ShapeError, describe, harmonise, param_dtype
from phlox.nn import functional as F
from phlox.nn._autosize import sized
from phlox.nn._checks import check_act, check_positive, check_size
from phlox.nn._fused import fused
from phlox.nn._label import act_text

Activation = Callable[[jax.Array], jax.Array]


@sized(size=-1)
class RMSNorm(Module):
    r"""Divide the features of each position by their root mean square, then an activation.

    $y = σ(γ x / \sqrt{\overline{x^2} + ε})$ with the mean over the last axes, in float32 at least.

    Shapes:
        x, y: (..., *size); scale: (*size).

    Arguments:
        size: size of the last axis, or sizes of the last axes.
        act: σ, applied to the result.
        eps: ε, above 0, added to the mean square.
        affine: whether γ is learned; it starts at 1.

    Raises:
        RangeError: a size below 1 or an ε of 0 or less.
        ShapeError: an input whose last axes are others.

    Source: Zhang and Sennrich, "Root mean square layer normalization", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.RMSNorm(2, eps=1e-12)(jnp.array([[3.0, -3.0]])).tolist()
    [[1.0, -1.0]]
    """

    scale: Param | None  # (*size)
    act: Activation
    eps: float

    def __init__(
        self, size: int | Sequence[int], act: Activation = F.identity, *, eps: float = 1e-6, affine: bool = True
    ):
        sizes = (size,) if isinstance(size, int) else tuple(size)
        self.size: tuple[int, ...] = tuple(check_size("RMSNorm", "size", s) for s in sizes)
        self.act, self.eps = check_act("RMSNorm", act), check_positive("RMSNorm", "eps", eps)
        self.affine = affine
        self.scale = jnp.ones(self.size, param_dtype()) if affine else None

    def __call__(self, x: Any) -> jax.Array:
        x, scale = harmonise(self, x, self.scale)
        if x.shape[-len(self.size) :] != self.size:
            raise ShapeError(
                f"(..., {', '.join(map(str, self.size))})", got=describe(x), fix="normalise the axes that come last"
            )
        return _rms_norm(self.act, x, scale, size=self.size, eps=self.eps)

    def _brief(self) -> str:
        return f"RMSNorm({', '.join(map(str, self.size))}{act_text(self.act)})"


@fused("size", "eps")
def _rms_norm(act: Any, x: Any, scale: Any, *, size: Any, eps: float) -> jax.Array:
    return act(F.rms_norm(x, size, scale, eps=eps))


class LocalResponseNorm(Module):
    r"""Divide by the responses of neighbouring channels: $y_c = x_c / (k + \frac{α}{n} \sum_j x_j^2)^β$.

    The sum runs over n channels around c; channels outside count as 0.

    Shapes:
        x, y: (..., channels).

    Arguments:
        size: n, channels in a neighbourhood.
        alpha, beta, k: α, β and k.

    Raises:
        RangeError: a size below 1, or a number that is not finite.
        ShapeError: an input without a channel axis.

    Source: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional networks", 2012.

    >>> import jax.numpy as jnp, phlox as px
    >>> round(px.nn.LocalResponseNorm(1, alpha=1.0, beta=1.0)(jnp.array([2.0])).item(), 4)
    0.4
    """

    alpha: float
    beta: float
    k: float

    def __init__(self, size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        self.size: int = check_size("LocalResponseNorm", "size", size)
        for name, value in (("alpha", alpha), ("beta", beta), ("k", k)):
            if not math.isfinite(value):
                raise RangeError(
                    f"a finite {name}", got=repr(value), fix=f"give {name} as a number", where="LocalResponseNorm"
                )
        self.alpha, self.beta, self.k = float(alpha), float(beta), float(k)

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        return _respond(F.identity, x, size=self.size, alpha=self.alpha, beta=self.beta, k=self.k)

    def _brief(self) -> str:
        return f"LocalResponseNorm({self.size})"


@fused("size", "alpha", "beta", "k")
def _respond(act: Any, x: Any, **options: Any) -> jax.Array:
    return act(F.local_response_norm(x, **options))
