"""Neural controlled differential equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import ShapeError, check_function, describe
from phlox.science._inside import Inside
from phlox.science.equations._control import check_interpolation, coefficients, numbers, observations, path_of
from phlox.science.equations._equation import Equation, Span
from phlox.science.equations._fields import named, terms
from phlox.science.equations._names import ODE_SOLVERS


class NeuralCDE(Equation):
    r"""A state driven by a path through observations: $dz(s) = f(z(s))\,dX(s)$, $z(0) = g(X(0))$.

    X joins the observations of each example in their order, with their times as the first channel, so they may lie at
    any times, other ones for each example, and have gaps (NaN).

    Shapes:
        x: (batch, times, channels); ts: (times,) or (batch, times); lengths: (batch,).
        g takes (batch, 1 + channels) and gives (batch, hidden); f takes that and gives (batch, hidden, 1 + channels),
        or the same flat. z: (batch, hidden), or with ``return_sequences`` (batch, times, hidden), zeros where padded.

    Arguments:
        initial, field: g and f, Modules or functions. An f that is bounded, by tanh at its end, trains best.
        interpolation: ``"hermite"``, smooth and known up to each moment without what comes later, or ``"linear"``.
        return_sequences: whether the call gives the state at each observation.
        solver, step, rtol, atol, adjoint, max_steps, throw: as in ``NeuralODE``; a unit of time is the way from one
            observation to the next.

    Called with ``(x, ts=None, lengths=None)``; without ``ts`` the times are 0, 1, 2 …

    Raises:
        RangeError: names that there are not, or numbers out of range.
        ShapeError: observations, times or lengths of other shapes; a field that gives another shape.
        StateError, SolverError: as ``NeuralODE``.

    Source: Kidger et al., "Neural controlled differential equations for irregular time series", 2020; Morrill et al.,
    "Neural controlled differential equations for online prediction tasks", 2021.

    >>> import jax.numpy as jnp, phlox as px
    >>> cde = px.science.NeuralCDE(px.Dense(3, 8), px.Dense(8, 8 * 3, px.tanh))
    >>> px.eval_shape(cde, jnp.ones((4, 10, 2))).shape
    (4, 8)
    """

    initial: Callable[..., Any]
    field: Callable[..., Any]
    interpolation: str
    return_sequences: bool

    def __init__(
        self,
        initial: Callable[..., Any],
        field: Callable[..., Any],
        *,
        interpolation: str = "hermite",
        return_sequences: bool = False,
        solver: Any = "tsit5",
        step: float | None = None,
        rtol: float = 1e-3,
        atol: float = 1e-6,
        adjoint: Any = "recursive_checkpoint",
        max_steps: int = 4096,
        throw: bool = True,
    ):
        super().__init__("NeuralCDE", ODE_SOLVERS, solver, step, rtol, atol, adjoint, max_steps, throw)
        self.initial = check_function("NeuralCDE", "initial", initial, "with the first observation and its time")
        self.field = check_function("NeuralCDE", "field", field, "as field(z)")
        self.interpolation = check_interpolation("NeuralCDE", interpolation)
        self.return_sequences = bool(return_sequences)

    def __call__(self, x: Any, ts: Any = None, lengths: Any = None) -> jax.Array:
        values, lengths = observations(x, ts, lengths)
        parts = coefficients(values, lengths, self.interpolation)
        at = numbers(values)
        z0 = self.initial(path_of(parts).evaluate(at[0]))
        if jnp.ndim(z0) != 2 or z0.shape[0] != values.shape[1]:
            fix = "let initial give a state for each example"
            raise ShapeError(f"an initial state ({values.shape[1]}, hidden)", got=describe(z0), fix=fix)
        rate = Inside(_rate, self, at[0], z0, parts)
        span = Span(at[0], at[-1], at if self.return_sequences else None)
        jumps = at[1:-1] if self.interpolation == "linear" else None
        found = self._run(terms(rate), ODE_SOLVERS, z0, span, (rate.arrays, list(parts)), jumps=jumps)
        rate.move_keys(self)
        states: jax.Array = self._told(found).states
        if not self.return_sequences:
            return states
        states = jnp.swapaxes(states, 0, 1)
        return states if lengths is None else jnp.where((at < lengths[:, None])[..., None], states, 0)

    def _brief(self) -> str:
        return f"NeuralCDE({named(self.initial)}, {named(self.field)}, solver={named(self.solver)})"


def _rate(cde: NeuralCDE, s: Any, z: Any, parts: tuple[jax.Array, ...]) -> jax.Array:
    """How the state changes from one observation to the next."""
    slope = path_of(parts).derivative(s)
    matrix = jnp.asarray(cde.field(z))
    expected = (*z.shape, slope.shape[-1])
    if matrix.shape not in (expected, (z.shape[0], z.shape[1] * slope.shape[-1])):
        raise ShapeError(
            f"a field that gives {expected}, or that flat: for each of the state and each channel, time included",
            got=describe(matrix),
            fix=f"let its last layer have {z.shape[1]} * {slope.shape[-1]} outputs",
        )
    return jnp.einsum("bhc,bc->bh", matrix.reshape(expected), slope).astype(z.dtype)
