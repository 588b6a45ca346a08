"""Maps without a network: features in another order, on another scale, mixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Param, harmonise, key_or_draw, param_dtype
from phlox.probability._arguments import known
from phlox.probability.flows._bijection import Bijection, Moved, check_features, checked
from phlox.probability.flows._masked import order_of


class Permutation(Bijection):
    r"""Features in another order, $z_i = x_{o_i}$; space is not stretched.

    Shapes:
        x, z: (..., features).

    Arguments:
        features: how many numbers an example has.
        order: o, by default drawn.
        key: what it is drawn with; by default the stream of ``px.seed``.

    Raises:
        RangeError: an order that does not name each feature once.
        ShapeError: an input of other features.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.probability.Permutation(3, [2, 0, 1])(jnp.array([10.0, 20.0, 30.0]))[0].tolist()
    [30.0, 10.0, 20.0]
    """

    features: int
    order: tuple[int, ...]

    def __init__(self, features: int, order: Sequence[int] | None = None, *, key: Any = None):
        self.features = check_features("Permutation", features)
        if order is None:
            order = np.asarray(jax.random.permutation(key_or_draw(key), self.features)).tolist()
        self.order = order_of("Permutation", order, self.features)

    def __call__(self, x: Any, context: Any = None) -> Moved:
        return self._ordered(x, np.array(self.order))

    def inverse(self, z: Any, context: Any = None) -> Moved:
        """The x that the map takes to z, and 0."""
        return self._ordered(z, np.argsort(self.order))

    def _ordered(self, x: Any, order: np.ndarray) -> Moved:
        x, _ = checked(self, x, None, self.features, 0)
        return x[..., order], jnp.zeros(x.shape[:-1], x.dtype)

    def _brief(self) -> str:
        return f"Permutation({self.features})"


class ActNorm(Bijection):
    r"""Features on a scale of their own, $z = e^s (x + b)$.

    ``initialise(x)`` sets s and b so that each feature of x comes out with mean 0 and variance 1; before that it is
    the identity. ``Flow.initialise`` does so for all maps of a flow, each with what comes to it.

    Shapes:
        x, z: (..., features); log_scale, bias: (features,).

    Arguments:
        features: how many numbers an example has.

    Raises:
        ShapeError: an input of other features.

    Source: Kingma and Dhariwal, "Glow: generative flow with invertible 1×1 convolutions", 2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> norm = px.probability.ActNorm(1)
    >>> norm.initialise(jnp.array([[1.0], [5.0]]))
    >>> norm(jnp.array([[1.0], [5.0]]))[0].tolist()
    [[-1.0], [1.0]]
    """

    log_scale: Param  # (features,)
    bias: Param  # (features,)
    features: int
    parameter_kinds: ClassVar = {"log_scale": ("scale", 1), "bias": ("bias", 1)}

    def __init__(self, features: int):
        self.features = check_features("ActNorm", features)
        self.log_scale = jnp.zeros(self.features, param_dtype())
        self.bias = jnp.zeros(self.features, param_dtype())

    def __call__(self, x: Any, context: Any = None) -> Moved:
        x, log_scale, bias = self._harmonised(x)
        return jnp.exp(log_scale) * (x + bias), jnp.broadcast_to(log_scale.sum(), x.shape[:-1])

    def inverse(self, z: Any, context: Any = None) -> Moved:
        """The x that the map takes to z, and the logarithm of how the inverse stretches space."""
        z, log_scale, bias = self._harmonised(z)
        return jnp.exp(-log_scale) * z - bias, jnp.broadcast_to(-log_scale.sum(), z.shape[:-1])

    def initialise(self, x: Any, context: Any = None) -> None:
        """Set mean 0 and variance 1 for these examples; a feature that does not vary keeps its scale."""
        x, log_scale, _ = self._harmonised(x)
        (values,) = known("ActNorm.initialise", "means and scales", x.reshape(-1, self.features))
        spread = values.std(0)
        self.bias = jnp.asarray(-values.mean(0), log_scale.dtype)
        self.log_scale = jnp.asarray(-np.log(np.where(spread > 0, spread, 1)), log_scale.dtype)

    def _harmonised(self, x: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        x, _ = checked(self, x, None, self.features, 0)
        return harmonise(self, x, self.log_scale, self.bias)

    def _brief(self) -> str:
        return f"ActNorm({self.features})"


class LULinear(Bijection):
    r"""Features mixed by a matrix with known factors, $z = (x L) U + b$.

    L has ones on its diagonal, U has $e^s$, so space is stretched by $\sum s$, and both are undone by substitution.

    Shapes:
        x, z: (..., features); lower, upper: (features, features), of which the halves beside the diagonal count;
        log_scale, bias: (features,).

    Arguments:
        features: how many numbers an example has.

    Raises:
        ShapeError: an input of other features.

    It begins as the identity.

    Source: Kingma and Dhariwal, "Glow: generative flow with invertible 1×1 convolutions", 2018; Oliva et al.,
    "Transformation autoregressive networks", 2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.probability.LULinear(2)(jnp.array([1.0, 2.0]))[0].tolist()
    [1.0, 2.0]
    """

    lower: Param  # (features, features)
    upper: Param  # (features, features)
    log_scale: Param  # (features,)
    bias: Param  # (features,)
    features: int
    parameter_kinds: ClassVar = {  # halves of matrices, of which no rule for whole ones is meant
        "lower": ("other", 2),
        "upper": ("other", 2),
        "log_scale": ("scale", 1),
        "bias": ("bias", 1),
    }

    def __init__(self, features: int):
        self.features = n = check_features("LULinear", features)
        self.lower, self.upper = jnp.zeros((n, n), param_dtype()), jnp.zeros((n, n), param_dtype())
        self.log_scale, self.bias = jnp.zeros(n, param_dtype()), jnp.zeros(n, param_dtype())

    def __call__(self, x: Any, context: Any = None) -> Moved:
        x, lower, upper, bias, stretch = self._factors(x)
        return (x @ lower) @ upper + bias, jnp.broadcast_to(stretch, x.shape[:-1])

    def inverse(self, z: Any, context: Any = None) -> Moved:
        """The x that the map takes to z, and the logarithm of how the inverse stretches space."""
        z, lower, upper, bias, stretch = self._factors(z)
        rows = (z - bias).reshape(-1, self.features)
        solve = jax.scipy.linalg.solve_triangular
        mixed = solve(upper, rows.T, trans=1, lower=False)
        x = solve(lower, mixed, trans=1, lower=True, unit_diagonal=True)
        return x.T.reshape(z.shape), jnp.broadcast_to(-stretch, z.shape[:-1])

    def _factors(self, x: Any) -> tuple[jax.Array, ...]:
        x, _ = checked(self, x, None, self.features, 0)
        x, lower, upper, log_scale, bias = harmonise(self, x, self.lower, self.upper, self.log_scale, self.bias)
        lower = jnp.tril(lower, -1) + jnp.eye(self.features, dtype=lower.dtype)
        upper = jnp.triu(upper, 1) + jnp.diag(jnp.exp(log_scale))
        return x, lower, upper, bias, log_scale.sum()

    def _brief(self) -> str:
        return f"LULinear({self.features})"
