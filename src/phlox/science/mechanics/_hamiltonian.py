"""Motion that keeps its energy: fields of Hamiltonians, and steps that keep areas of phase space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, check_function
from phlox.science._checks import check_positive
from phlox.science._inside import Inside
from phlox.science.equations._equation import Equation, Solution, ends_of, span_of, states_of
from phlox.science.equations._fields import named, terms
from phlox.science.mechanics._energy import energies, halves, slope_of

_BY_EULER = {"semi_implicit_euler": "SemiImplicitEuler"}


class HamiltonianField(Module):
    r"""Motion by an energy H of positions q and momenta p: $\dot q = \partial H / \partial p$,
    $\dot p = -\partial H / \partial q$.

    As the field of a ``NeuralODE`` with small tolerances it keeps H, whatever the network.

    Shapes:
        y and its slope: (batch, 2n), q before p. The energy takes y and gives (batch, 1).

    Arguments:
        energy: H, a Module or function.

    Raises:
        RangeError: an energy that cannot be called.
        ShapeError: states of another form, or more than one number for each.

    Source: Greydanus, Dzamba and Yosinski, "Hamiltonian neural networks", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> spring = px.science.HamiltonianField(lambda y: (y**2).sum(-1) / 2)
    >>> spring(jnp.array([[1.0, 2.0]])).tolist()
    [[2.0, -1.0]]
    """

    energy: Callable[..., Any]

    def __init__(self, energy: Callable[..., Any]):
        self.energy = check_function("HamiltonianField", "energy", energy, "as energy(y)")

    def __call__(self, y: Any) -> jax.Array:
        halves(y, "positions before momenta")
        force, velocity = halves(slope_of(self.energy, jnp.asarray(y)), "")
        return jnp.concatenate([velocity, -force], -1)

    def _brief(self) -> str:
        return f"HamiltonianField({named(self.energy)})"


class SymplecticODE(Equation):
    r"""Motion by kinetic energy T and potential V, in steps that keep areas of phase space: $H = T(p) + V(q)$.

    Semi-implicit Euler, $q' = q + h\,\partial T(p) / \partial p$, $p' = p - h\,\partial V(q') / \partial q'$: of first
    order, and its energy swings about the true one in a band that does not grow with time.

    Shapes:
        y0: (batch, 2n), q before p; y: (batch, 2n) at the last time, or with ``ts`` (batch, times, 2n). Both energies
        take (batch, n) and give (batch, 1).

    Arguments:
        kinetic, potential: T and V, Modules or functions.
        step: h, in units of time.
        span: the first and the last time, where a call gives none.
        adjoint, max_steps, throw: as in ``NeuralODE``, ``"backsolve"`` and ``"implicit"`` left out.

    Called with ``(y0, ts=None)``; between steps states are on a straight line. ``solve`` takes the same and gives a
    ``Solution``; ``energy(y)`` is H, (batch,).

    Raises:
        RangeError, ShapeError, StateError, SolverError: as ``NeuralODE``.

    Source: Hairer, Lubich and Wanner, "Geometric numerical integration", 2006.

    >>> import jax.numpy as jnp, phlox as px
    >>> square = lambda x: (x**2).sum(-1) / 2
    >>> spring = px.science.SymplecticODE(square, square, step=0.1)
    >>> px.eval_shape(spring, jnp.ones((8, 2)), jnp.linspace(0.0, 100.0, 11)).shape
    (8, 11, 2)
    """

    kinetic: Callable[..., Any]
    potential: Callable[..., Any]
    span: tuple[float, float]

    def __init__(
        self,
        kinetic: Callable[..., Any],
        potential: Callable[..., Any],
        *,
        step: float = 0.01,
        span: tuple[float, float] = (0.0, 1.0),
        adjoint: Any = "recursive_checkpoint",
        max_steps: int = 4096,
        throw: bool = True,
    ):
        step = check_positive("SymplecticODE", "step", step)
        super().__init__("SymplecticODE", _BY_EULER, "semi_implicit_euler", step, 1e-3, 1e-6, adjoint, max_steps, throw)
        self.kinetic = check_function("SymplecticODE", "kinetic", kinetic, "as kinetic(p)")
        self.potential = check_function("SymplecticODE", "potential", potential, "as potential(q)")
        self.span = ends_of("SymplecticODE", span)

    def __call__(self, y0: Any, ts: Any = None) -> jax.Array:
        states: jax.Array = self.solve(y0, ts).states
        return states

    def solve(self, y0: Any, ts: Any = None) -> Solution:
        """The states, with their times and what it took; takes what a call takes."""
        q, p = halves(states_of(self, y0), "positions before momenta")
        span = span_of(ts, self.span, q)
        velocity, force = Inside(_velocity, self, span.start, p), Inside(_force, self, span.start, q)
        found = self._run((terms(velocity), terms(force)), _BY_EULER, (q, p), span, (velocity.arrays, []))
        velocity.move_keys(self)
        force.move_keys(self)
        states = jnp.concatenate(found.states, -1)
        return self._told(found._replace(states=states if span.save is None else jnp.swapaxes(states, 0, 1)))

    def energy(self, y: Any) -> jax.Array:
        """The energy of states (batch, 2n)."""
        q, p = halves(y, "positions before momenta")
        return energies(self.kinetic, p) + energies(self.potential, q)

    def _brief(self) -> str:
        return f"SymplecticODE({named(self.kinetic)}, {named(self.potential)}, step={self.step:g})"


def _velocity(ode: SymplecticODE, t: Any, p: jax.Array, _: Any = None) -> jax.Array:
    del t
    return slope_of(ode.kinetic, p).astype(p.dtype)


def _force(ode: SymplecticODE, t: Any, q: jax.Array, _: Any = None) -> jax.Array:
    del t
    return -slope_of(ode.potential, q).astype(q.dtype)
