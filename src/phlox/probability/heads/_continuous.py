"""Heads for numbers: a mean and a scale, or several of each."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, check_size, harmonise, key_or_draw, param_dtype
from phlox.nn import Dense
from phlox.probability._arguments import positive
from phlox.probability.distributions._real import Normal
from phlox.probability.distributions._several import Independent, Mixture


class NormalHead(Module):
    r"""A normal distribution for each output: $μ = x W_μ + b_μ$, $σ = \mathrm{softplus}(x W_σ + b_σ) + σ_0$.

    Shapes:
        x: (..., in); a batch (..., out) of ``Normal``.

    Arguments:
        in_size, out_size: features of the input, and numbers predicted.
        shared_scale: whether σ is one learned number for each output, whatever the input.
        min_scale: σ₀, the least scale, in units of the target.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1, a least scale not above 0.
        ShapeError: an input without ``in_size`` features.

    Source: Nix and Weigend, "Estimating the mean and variance of the target probability distribution", 1994.

    >>> import jax.numpy as jnp, phlox as px
    >>> prediction = px.probability.NormalHead(8, 2)(jnp.ones((5, 8)))
    >>> prediction.mean.shape, bool((prediction.stddev > 0).all())
    ((5, 2), True)
    """

    dense: Dense
    raw_scale: Param | None  # (out,) where the scale is shared
    out_size: int
    min_scale: float

    def __init__(
        self, in_size: int, out_size: int, *, shared_scale: bool = False, min_scale: float = 1e-3, key: Any = None
    ):
        self.out_size = check_size("NormalHead", "out_size", out_size)
        self.min_scale = positive("NormalHead", "min_scale", min_scale)
        self.dense = Dense(in_size, out_size if shared_scale else 2 * out_size, key=key_or_draw(key))
        self.raw_scale = jnp.zeros(out_size, param_dtype()) if shared_scale else None

    def __call__(self, x: Any) -> Normal:
        y = self.dense(x)
        loc, raw = y[..., : self.out_size], y[..., self.out_size :]
        if self.raw_scale is not None:
            loc, raw = harmonise(self, loc, self.raw_scale)
        return Normal(loc, jnp.broadcast_to(scale_of(raw, self.min_scale), loc.shape))


class MixtureDensityHead(Module):
    r"""A mixture of normal distributions, for outcomes of several kinds: $p(y) = \sum_k π_k N(y; μ_k, σ_k^2)$.

    Shapes:
        x: (..., in); a batch (...) of ``Mixture`` of vectors (out,), whose numbers are independent within a component.

    Arguments:
        in_size, out_size: features of the input, and numbers predicted.
        components: how many normal distributions are mixed.
        min_scale: the least scale, in units of the target.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1, a least scale not above 0.
        ShapeError: an input without ``in_size`` features.

    Source: Bishop, "Mixture density networks", 1994.

    >>> import jax.numpy as jnp, phlox as px
    >>> prediction = px.probability.MixtureDensityHead(8, 2, 3)(jnp.ones((5, 8)))
    >>> prediction.log_prob(jnp.zeros((5, 2))).shape
    (5,)
    """

    dense: Dense
    out_size: int
    components: int
    min_scale: float

    def __init__(self, in_size: int, out_size: int, components: int, *, min_scale: float = 1e-3, key: Any = None):
        self.out_size = check_size("MixtureDensityHead", "out_size", out_size)
        self.components = check_size("MixtureDensityHead", "components", components)
        self.min_scale = positive("MixtureDensityHead", "min_scale", min_scale)
        self.dense = Dense(in_size, components * (1 + 2 * out_size), key=key_or_draw(key))

    def __call__(self, x: Any) -> Mixture:
        logits, y = jnp.split(self.dense(x), [self.components], -1)
        loc, raw = jnp.split(y.reshape(*y.shape[:-1], self.components, 2 * self.out_size), 2, -1)
        return Mixture(logits, Independent(Normal(loc, scale_of(raw, self.min_scale))))


def scale_of(raw: jax.Array, least: float) -> jax.Array:
    """A scale above the least one, from any number."""
    return jax.nn.softplus(raw) + least
