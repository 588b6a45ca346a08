"""The distribution that a flow begins with."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, ShapeError, check_size, describe
from phlox.probability._arguments import floats


class StandardNormal(Module):
    r"""Independent normal features of mean 0 and variance 1, $\log p(x) = -\frac12 \|x\|^2 - \frac{d}{2} \log 2 \pi$.

    Shapes:
        x: (..., features); log_prob: (...).

    Arguments:
        features: d.

    ``log_prob(x)`` gives the density, ``sample(key, shape=())`` draws, (\*shape, features) in the default dtype.

    Raises:
        RangeError: features below 1.
        ShapeError: an input of other features.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> normal = px.probability.StandardNormal(2)
    >>> round(float(normal.log_prob(jnp.zeros(2))), 4), normal.sample(jax.random.key(0), (5,)).shape
    (-1.8379, (5, 2))
    """

    features: int

    def __init__(self, features: int):
        self.features = check_size("StandardNormal", "features", features)

    def log_prob(self, x: Any) -> jax.Array:
        """The logarithm of the density, in nats."""
        (x,) = floats("StandardNormal", x=x)
        if x.ndim < 1 or x.shape[-1] != self.features:
            fix = "put the features along the last axis"
            raise ShapeError(f"(..., {self.features})", got=describe(x), fix=fix, where="StandardNormal")
        return -0.5 * (jnp.square(x).sum(-1) + self.features * math.log(2 * math.pi))

    def sample(self, key: Any, shape: tuple[int, ...] = ()) -> jax.Array:
        """Draw from it."""
        return jax.random.normal(key, (*shape, self.features))

    def _brief(self) -> str:
        return f"StandardNormal({self.features})"
