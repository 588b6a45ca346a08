"""Motion by a Lagrangian, in any coordinates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, check_function, jvp
from phlox.science.equations._fields import named
from phlox.science.mechanics._energy import halves, slope_of


class LagrangianField(Module):
    r"""Motion by a Lagrangian L of positions q and velocities v, by the equation of Euler and Lagrange:
    $\dot q = v$, $\dot v = \left(\frac{\partial^2 L}{\partial v\,\partial v}\right)^{-1}
    \left(\frac{\partial L}{\partial q} - \frac{\partial^2 L}{\partial q\,\partial v}\, v\right)$.

    No momenta are needed, as a Hamiltonian's are: q may be angles or any other coordinates.

    Shapes:
        y and its slope: (batch, 2n), q before v. The Lagrangian takes y and gives (batch, 1).

    Arguments:
        lagrangian: L, a Module or function with second derivatives (``px.softplus`` and ``px.tanh`` have them,
            ``px.relu`` has not).

    Raises:
        RangeError: a Lagrangian that cannot be called.
        ShapeError: states of another form, or more than one number for each.

    Where the matrix in front is singular, the slope is not finite.

    Source: Cranmer et al., "Lagrangian neural networks", 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> pendulum = px.science.LagrangianField(lambda y: y[:, 1] ** 2 / 2 + 9.81 * jnp.cos(y[:, 0]))
    >>> [round(float(x), 3) for x in pendulum(jnp.array([[jnp.pi / 6, 0.5]]))[0]]
    [0.5, -4.905]
    """

    lagrangian: Callable[..., Any]

    def __init__(self, lagrangian: Callable[..., Any]):
        self.lagrangian = check_function("LagrangianField", "lagrangian", lagrangian, "as lagrangian(y)")

    def __call__(self, y: Any) -> jax.Array:
        q, v = halves(y, "positions before velocities")
        n = q.shape[1]

        def slope(y: Any) -> jax.Array:
            return slope_of(self.lagrangian, y)

        def along(direction: jax.Array) -> jax.Array:
            """How the momenta change as the state goes that way."""
            return jvp(slope, (jnp.asarray(y),), (direction,))[1][:, n:]

        ways = jnp.eye(2 * n, dtype=q.dtype)[n:, None].repeat(q.shape[0], 1)
        mass = jnp.stack([along(way) for way in ways], -1)
        force = slope(jnp.asarray(y))[:, :n] - along(jnp.concatenate([v, jnp.zeros_like(v)], -1))
        return jnp.concatenate([v, jnp.linalg.solve(mass, force[..., None])[..., 0]], -1)

    def _brief(self) -> str:
        return f"LagrangianField({named(self.lagrangian)})"
