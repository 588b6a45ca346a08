"""Activations that hold something: a learned slope or steepness, or a random key."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    Param,
    RangeError,
    ShapeError,
    State,
    advance,
    describe,
    harmonise,
    key_or_draw,
    param_dtype,
)
from phlox.nn import functional as F
from phlox.nn._autosize import sized
from phlox.nn._checks import check_size
from phlox.nn._fused import fused


@sized(channels=-1)
class PReLU(Module):
    r"""A rectifier with a learned leak: $y = x$ where $x > 0$, else $a x$.

    Shapes:
        x, y: (..., channels), or any for one slope; slope: (channels,), or (1,).

    Arguments:
        channels: how many slopes, one for each channel; 1 is one for all.
        init: a, where every slope starts.

    Raises:
        RangeError: channels below 1.
        ShapeError: an input of other channels.

    Source: He et al., "Delving deep into rectifiers", 2015.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.PReLU(init=0.25)(jnp.array([-4.0, 4.0])).tolist()
    [-1.0, 4.0]
    """

    slope: Param  # (channels,)

    def __init__(self, channels: int = 1, *, init: float = 0.25):
        self.channels: int = check_size("PReLU", "channels", channels)
        self.slope = jnp.full(channels, init, param_dtype())

    def __call__(self, x: Any) -> jax.Array:
        x, slope = harmonise(self, x, self.slope)
        if self.channels > 1 and (x.ndim < 1 or x.shape[-1] != self.channels):
            raise ShapeError(
                f"(..., {self.channels})",
                got=describe(x),
                fix=f"give it {self.channels} channels, or PReLU() one slope",
            )
        return _prelu(F.identity, x, slope)

    def _brief(self) -> str:
        return f"PReLU({self.channels})"


@fused()
def _prelu(act: Any, x: Any, slope: Any) -> jax.Array:
    return act(F.prelu(x, slope))


class Swish(Module):
    r"""A gate by the input itself with a learned steepness: $y = x / (1 + e^{-β x})$.

    Shapes:
        x, y: any; beta: ().

    Arguments:
        beta: where β starts; 1 is ``px.nn.functional.silu``.

    Source: Ramachandran, Zoph and Le, "Searching for activation functions", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.Swish(0.0)(jnp.array([2.0])).tolist()
    [1.0]
    """

    beta: Param  # ()

    def __init__(self, beta: float = 1.0):
        self.beta = jnp.asarray(beta, param_dtype())

    def __call__(self, x: Any) -> jax.Array:
        x, beta = harmonise(self, x, self.beta)
        return _swish(F.identity, x, beta)


@fused()
def _swish(act: Any, x: Any, beta: Any) -> jax.Array:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return act((wide * jax.nn.sigmoid(beta.astype(wide.dtype) * wide)).astype(x.dtype))


class RReLU(Module):
    r"""A rectifier with a random leak: $y = x$ where $x > 0$, else $a x$.

    In training each element draws its own a, uniform on [lower, upper); in inference a is their mean. The layer owns
    a random key as State and advances it.

    Shapes:
        x, y: any.

    Arguments:
        lower, upper: bounds of a.
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: lower above upper.

    Source: Xu et al., "Empirical evaluation of rectified activations", 2015.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.RReLU(0.25, 0.75, key=0)(jnp.array([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    key: State  # () typed random key
    lower: float
    upper: float

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, *, key: Any = None):
        if not lower <= upper:
            raise RangeError(
                "lower <= upper", got=f"lower={lower}, upper={upper}", fix="exchange the two bounds", where="RReLU"
            )
        self.lower, self.upper, self.key = float(lower), float(upper), key_or_draw(key)

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        key = advance(self) if self.training else None
        return _rrelu(F.identity, x, key, lower=self.lower, upper=self.upper)


@fused("lower", "upper")
def _rrelu(act: Any, x: Any, key: Any, *, lower: float, upper: float) -> jax.Array:
    return act(F.rrelu(x, lower, upper, key=key))
