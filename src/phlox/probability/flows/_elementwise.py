"""How one number is moved, by a few numbers that a network gives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, check_size, shown
from phlox.probability._arguments import positive
from phlox.probability.flows import _spline


class Elementwise(Module):
    """A rising function of one number, by some free numbers; the base of those that couplings take.

    A subclass sets ``parameters``, how many free numbers it takes, and computes ``__call__(x, raw)`` and
    ``inverse(z, raw)``; each gives the value and the logarithm of the slope there. Of zeros it is the identity.

    Shapes:
        x, z: (...); raw: (..., parameters).
    """

    parameters: int

    def inverse(self, z: Any, raw: Any) -> tuple[jax.Array, jax.Array]:
        """The x that it takes to z, and the logarithm of the slope of the inverse."""
        raise NotImplementedError


class Affine(Elementwise):
    r"""A number stretched and moved, $z = e^s x + t$, with $s = c \tanh(r / c)$ of free numbers r and t.

    Shapes:
        x, z: (...); raw: (..., 2), r and t.

    Arguments:
        bound: c, what the logarithm of the stretch stays below.

    Raises:
        RangeError: a bound that is not above 0.

    Source: Dinh, Sohl-Dickstein and Bengio, "Density estimation using real NVP", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> z, log_slope = px.probability.Affine()(jnp.array(2.0), jnp.array([0.0, 5.0]))
    >>> float(z), float(log_slope)
    (7.0, 0.0)
    """

    bound: float

    def __init__(self, bound: float = 3.0):
        self.parameters = 2
        self.bound = positive("Affine", "bound", bound)

    def __call__(self, x: Any, raw: Any) -> tuple[jax.Array, jax.Array]:
        log_slope = self._log_slope(raw)
        return jnp.exp(log_slope) * x + raw[..., 1], log_slope

    def inverse(self, z: Any, raw: Any) -> tuple[jax.Array, jax.Array]:
        """The x that it takes to z, and the logarithm of the slope of the inverse."""
        log_slope = self._log_slope(raw)
        return jnp.exp(-log_slope) * (z - raw[..., 1]), -log_slope

    def _log_slope(self, raw: Any) -> jax.Array:
        return self.bound * jnp.tanh(raw[..., 0] / self.bound)

    def _brief(self) -> str:
        return f"Affine({self.bound})"


class RationalQuadratic(Elementwise):
    """A number moved by a rising spline of rational quadratics; the identity outside of ±bound.

    Shapes:
        x, z: (...); raw: (..., 3 · bins - 1), widths and heights of the bins, and slopes between them.

    Arguments:
        bins: pieces of the spline.
        bound: where it ends, in units of the number.

    Raises:
        RangeError: no bins, 1000 or more, or a bound that is not above 0.

    Source: Durkan, Bekasov, Murray and Papamakarios, "Neural spline flows", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> spline = px.probability.RationalQuadratic(bins=4)
    >>> z, log_slope = spline(jnp.array(9.0), jnp.ones(spline.parameters))
    >>> float(z), float(log_slope), spline.parameters
    (9.0, 0.0, 11)
    """

    bins: int
    bound: float

    def __init__(self, bins: int = 8, bound: float = 5.0):
        self.bins = check_size("RationalQuadratic", "bins", bins)
        self.bound = positive("RationalQuadratic", "bound", bound)
        if self.bins >= 1000:
            fix = "give fewer: 8 are many"
            raise RangeError("bins below 1000", got=repr(bins), fix=fix, where="RationalQuadratic")
        self.parameters = 3 * self.bins - 1

    def __call__(self, x: Any, raw: Any) -> tuple[jax.Array, jax.Array]:
        return _spline.forward(x, _spline.knots(raw, self.bins, self.bound), self.bound)

    def inverse(self, z: Any, raw: Any) -> tuple[jax.Array, jax.Array]:
        """The x that it takes to z, and the logarithm of the slope of the inverse."""
        return _spline.inverse(z, _spline.knots(raw, self.bins, self.bound), self.bound)

    def _brief(self) -> str:
        return f"RationalQuadratic({self.bins}, {self.bound})"


def check_elementwise(where: str, value: Any) -> Elementwise:
    """What moves one number; ``Affine()`` where nothing is said."""
    if value is None:
        return Affine()
    if not isinstance(value, Elementwise):
        fix = "give px.probability.Affine() or px.probability.RationalQuadratic()"
        raise RangeError("transform that moves one number", got=shown(value), fix=fix, where=where)
    return value
