"""Products of features beyond Dense: of two inputs, and of each feature with a number of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, ShapeError, describe, harmonise, key_or_draw, param_dtype
from phlox.nn import functional as F
from phlox.nn import init as inits
from phlox.nn._autosize import sized
from phlox.nn._checks import check_act, check_size
from phlox.nn._fused import fused
from phlox.nn._label import act_text
from phlox.nn.functional._numeric import spread

Activation = Callable[[jax.Array], jax.Array]


@sized(in1_size=(0, -1), in2_size=(1, -1))
class Bilinear(Module):
    r"""A product of two inputs, then an activation: $y_o = σ(\sum_{ij} x_i W_{ijo} z_j + b_o)$.

    With one input it is that input's product with itself.

    Shapes:
        x: (..., in1); z: (..., in2), the same leading axes; weight: (in1, in2, out); bias: (out,); y: (..., out).

    Arguments:
        in1_size: features of the first input.
        in2_size: features of the second input.
        out_size: features of the output.
        act: σ, applied to the result.
        bias: whether to add b, which starts at zero.
        init: initialiser of the weight, ``init(key, shape, dtype)``.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1.
        ShapeError: inputs of other features, or whose leading axes differ.

    Source: Tenenbaum and Freeman, "Separating style and content with bilinear models", 2000.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.Bilinear(3, 4, 2, px.relu)(jnp.ones((5, 3)), jnp.ones((5, 4))).shape
    (5, 2)
    """

    weight: Param  # (in1, in2, out)
    bias: Param | None  # (out,)

    def __init__(
        self,
        in1_size: int,
        in2_size: int,
        out_size: int,
        act: Activation = F.identity,
        *,
        bias: bool = True,
        init: Callable[..., jax.Array] = inits.glorot_uniform,
        key: Any = None,
    ):
        self.in1_size: int = check_size("Bilinear", "in1_size", in1_size)
        self.in2_size: int = check_size("Bilinear", "in2_size", in2_size)
        self.out_size: int = check_size("Bilinear", "out_size", out_size)
        self.act: Activation = check_act("Bilinear", act)
        self.weight = init(key_or_draw(key), (in1_size, in2_size, out_size), param_dtype())
        self.bias = jnp.zeros(out_size, param_dtype()) if bias else None

    @classmethod
    def of(cls, weight: jax.Array, bias: jax.Array | None = None, act: Activation = F.identity) -> Bilinear:
        """A layer around given arrays, weight (in1, in2, out) and bias (out,) or None; nothing is drawn."""
        if weight.ndim != 3 or (bias is not None and bias.shape != weight.shape[2:]):
            got = describe(weight) + ("" if bias is None else f" and bias {describe(bias)}")
            fix = "put the outputs last: jnp.moveaxis(weight, 0, -1)"
            raise ShapeError("weight (in1, in2, out) and bias (out,)", got=got, fix=fix, where="Bilinear.of")
        self: Bilinear = cls.__new__(cls)
        self.in1_size, self.in2_size, self.out_size = weight.shape
        self.act, self.weight, self.bias = act, weight, bias
        return self

    def __call__(self, x: Any, z: Any = None) -> jax.Array:
        z = x if z is None else z
        x, weight, bias = harmonise(self, x, self.weight, self.bias)
        z = harmonise(self, z, self.weight)[0]
        for given, size, which in ((x, self.in1_size, "first"), (z, self.in2_size, "second")):
            if given.ndim < 1 or given.shape[-1] != size:
                raise ShapeError(
                    f"a {which} input (..., {size})",
                    got=describe(given),
                    fix=f"give the layer before it {size} outputs, or exchange the inputs",
                )
        return _bilinear(self.act, x, z, weight, bias)

    def _brief(self) -> str:
        return f"Bilinear({self.in1_size} × {self.in2_size} → {self.out_size}{act_text(self.act)})"


@fused()
def _bilinear(act: Any, x: Any, z: Any, weight: Any, bias: Any) -> jax.Array:
    return act(F.bilinear(x, z, weight, bias))


@sized(size=-1)
class Scale(Module):
    r"""A factor and an offset for each feature, then an activation: $y = σ(γ x + β)$.

    Shapes:
        x, y: (..., *size); scale, bias: (*size).

    Arguments:
        size: size of the last axis, or sizes of the last axes.
        act: σ, applied to the result.
        bias: whether to add β, which starts at zero.
        init: initialiser of γ, ``init(key, shape, dtype)``; ones by default.
        key: where γ is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1.
        ShapeError: an input whose last axes are others.

    Source: Touvron et al., "Going deeper with image transformers", 2021, where it scales residual branches.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.Scale.of(jnp.array([1.0, 2.0]), jnp.array([0.0, 1.0]))(jnp.ones((1, 2))).tolist()
    [[1.0, 3.0]]
    """

    scale: Param  # (*size)
    bias: Param | None  # (*size)

    def __init__(
        self,
        size: int | Sequence[int],
        act: Activation = F.identity,
        *,
        bias: bool = True,
        init: Callable[..., jax.Array] = inits.ones,
        key: Any = None,
    ):
        sizes = (size,) if isinstance(size, int) else tuple(size)
        self.size: tuple[int, ...] = tuple(check_size("Scale", "size", s) for s in sizes)
        self.act: Activation = check_act("Scale", act)
        self.scale = init(key_or_draw(key), self.size, param_dtype())
        self.bias = jnp.zeros(self.size, param_dtype()) if bias else None

    @classmethod
    def of(cls, scale: jax.Array, bias: jax.Array | None = None, act: Activation = F.identity) -> Scale:
        """A layer around given arrays, scale and bias of one shape, or None for the bias."""
        if scale.ndim < 1 or (bias is not None and bias.shape != scale.shape):
            got = describe(scale) + ("" if bias is None else f" and bias {describe(bias)}")
            raise ShapeError("scale and bias of one shape (*size)", got=got, fix="match the two", where="Scale.of")
        self: Scale = cls.__new__(cls)
        self.size, self.act, self.scale, self.bias = scale.shape, act, scale, bias
        return self

    def __call__(self, x: Any) -> jax.Array:
        x, scale, bias = harmonise(self, x, self.scale, self.bias)
        if x.shape[-len(self.size) :] != self.size:
            raise ShapeError(
                f"(..., {', '.join(map(str, self.size))})", got=describe(x), fix="scale the axes that come last"
            )
        return _scale(self.act, x, scale, bias)

    def _brief(self) -> str:
        return f"Scale({', '.join(map(str, self.size))}{act_text(self.act)})"


@fused()
def _scale(act: Any, x: Any, scale: Any, bias: Any) -> jax.Array:
    y = x * spread(scale, x.shape)
    return act(y if bias is None else y + spread(bias, x.shape))
