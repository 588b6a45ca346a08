"""Dense: an affine map of the features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, ShapeError, describe, harmonise, key_or_draw, param_dtype
from phlox.nn import functional as F
from phlox.nn import init as inits
from phlox.nn._autosize import sized
from phlox.nn._checks import check_act, check_size
from phlox.nn._fused import fused

Activation = Callable[[jax.Array], jax.Array]


@sized(in_size=-1)
class Dense(Module):
    r"""An affine map of the features, then an activation: $y = σ(x W + b)$.

    Shapes:
        x: (..., in); weight: (in, out); bias: (out,); y: (..., out).

    Arguments:
        in_size: features of the input.
        out_size: features of the output.
        act: σ, applied to the result.
        bias: whether to add b, which starts at zero.
        init: initialiser of the weight, ``init(key, shape, dtype)``.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1.
        ShapeError: an input without ``in_size`` features.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.Dense(3, 2, px.relu)(jnp.ones((5, 3))).shape
    (5, 2)
    """

    weight: Param  # (in, out)
    bias: Param | None  # (out,)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        act: Activation = F.identity,
        *,
        bias: bool = True,
        init: Callable[..., jax.Array] = inits.glorot_uniform,
        key: Any = None,
    ):
        self.in_size: int = check_size("Dense", "in_size", in_size)
        self.out_size: int = check_size("Dense", "out_size", out_size)
        self.act: Activation = check_act("Dense", act)
        self.weight = init(key_or_draw(key), (in_size, out_size), param_dtype())
        self.bias = jnp.zeros(out_size, param_dtype()) if bias else None

    @classmethod
    def of(cls, weight: jax.Array, bias: jax.Array | None = None, act: Activation = F.identity) -> Dense:
        """A layer around given arrays, weight (in, out) and bias (out,) or None; nothing is drawn."""
        if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[1:]):
            got = describe(weight) + ("" if bias is None else f" and bias {describe(bias)}")
            fix = "transpose the weight: weight.T"
            raise ShapeError("weight (in, out) and bias (out,)", got=got, fix=fix, where="Dense.of")
        self: Dense = cls.__new__(cls)
        self.in_size, self.out_size = weight.shape
        self.act, self.weight, self.bias = check_act("Dense.of", act), weight, bias
        return self

    def __call__(self, x: Any) -> jax.Array:
        x, weight, bias = harmonise(self, x, self.weight, self.bias)
        if x.ndim < 1 or x.shape[-1] != self.in_size:
            raise ShapeError(f"(..., {self.in_size})", got=describe(x), fix=_cure(self, x))
        return _forward(self.act, x, weight, bias)

    def _brief(self) -> str:
        act = "" if self.act is F.identity else f", {getattr(self.act, '__name__', self.act)}"
        return f"Dense({self.in_size} → {self.out_size}{act})"


def _cure(layer: Dense, x: jax.Array) -> str:
    if x.ndim < 1:
        return f"put the {layer.in_size} features into one array"
    if layer.in_size in x.shape:
        return f"move the features, the axis of size {layer.in_size}, to the last axis"
    if x.ndim > 2 and layer.in_size == x[0].size:
        return "flatten the input first, with px.flatten"
    return f"give the layer before {layer.in_size} outputs, or make this one Dense({x.shape[-1]}, …)"


@fused()
def _forward(act: Activation, x: jax.Array, weight: jax.Array, bias: jax.Array | None) -> jax.Array:
    return act(F.dense(x, weight, bias))
