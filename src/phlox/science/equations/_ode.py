"""Neural ordinary differential equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import check_function
from phlox.science._inside import Inside
from phlox.science.equations._equation import Equation, Solution, Span, ends_of, like_state, span_of, states_of
from phlox.science.equations._event import Event, check_event, made_event, one_number
from phlox.science.equations._fields import arrays_among, asked, named, one_of, terms, with_batch
from phlox.science.equations._names import ODE_SOLVERS


class NeuralODE(Equation):
    r"""The solution of a differential equation whose slope a network gives: $\dot y(t) = f(t, y(t))$, $y(t_0) = y_0$.

    All examples take the same steps, so the field sees the batch as a layer does; with ``separate`` each takes its own.
    Keys that layers of the field draw with (Dropout) stay as they are for a whole solve and move on after it; State may
    be read alone.

    Shapes:
        y0: (batch, ...), or a tree of such arrays; y: (batch, ...) at the last time, or with ``ts``
        (batch, times, ...); ts: (times,), the first being that of y0; with ``separate`` also (batch, times).

    Arguments:
        field: f, a Module or function called with ``y``, that gives a slope like it.
        time: whether the field is called with ``(t, y)``.
        span: the first and the last time, where a call gives none.
        solver: ``"tsit5"``, another name of ``px.science.ODE_SOLVERS``, or an object of ``diffrax.AbstractSolver``.
        step: the size of all steps, in units of time; None lets the solver choose each by ``rtol`` and ``atol``.
        rtol, atol: the error allowed in a step, as a share of the state and in its units.
        adjoint: how gradients are taken: ``"recursive_checkpoint"`` (exact for the steps taken, in little memory),
            ``"direct"`` (also forwards), ``"forward_mode"`` (forwards alone), ``"backsolve"`` (an equation solved
            backwards, as exact as its steps), ``"implicit"`` (of a steady state), or an object of
            ``diffrax.AbstractAdjoint``.
        event: what ends the solve of an example, an ``Event`` or its function; ``"steady_state"`` ends the solve where
            the slope is within the tolerances.
        separate: whether each example is solved by itself; an event of one's own implies it. The field is then called
            with a batch of one, and arrays of ``args`` have a batch axis.
        max_steps: steps after which a solve counts as failed.
        throw: whether such a failure raises; else its states are NaN.

    Called with ``(y0, ts=None, args=None)``, where ``args`` is a tree that the field gets behind y. ``solve`` takes the
    same and gives a ``Solution``: states, times, steps taken.

    Raises:
        RangeError: names that there are not, a solver that cannot take such steps, times that go back and forth.
        ShapeError: states without a batch axis, or a slope unlike the state.
        DtypeError: a slope wider than the state, or a state of 16 bits.
        StateError: the field writes State that is no key, as BatchNorm does in training.
        SolverError: ``max_steps`` before the last time. In a compiled function JAX's own error carries its text.

    Source: Chen et al., "Neural ordinary differential equations", 2018; Kidger, "On neural differential equations",
    2021.

    >>> import jax.numpy as jnp, phlox as px
    >>> ode = px.science.NeuralODE(px.Chain(px.Dense(2, 16, px.tanh), px.Dense(16, 2)))
    >>> px.eval_shape(ode, jnp.ones((8, 2)), jnp.linspace(0.0, 1.0, 5)).shape
    (8, 5, 2)
    >>> decay = px.science.NeuralODE(lambda y: -y, solver="heun", step=0.01)
    >>> round(float(decay(jnp.ones((1, 1)))[0, 0]), 4)
    0.3679
    """

    field: Callable[..., Any]
    time: bool
    span: tuple[float, float]
    event: Any
    separate: bool

    def __init__(
        self,
        field: Callable[..., Any],
        *,
        time: bool = False,
        span: tuple[float, float] = (0.0, 1.0),
        solver: Any = "tsit5",
        step: float | None = None,
        rtol: float = 1e-3,
        atol: float = 1e-6,
        adjoint: Any = "recursive_checkpoint",
        event: Any = None,
        separate: bool = False,
        max_steps: int = 4096,
        throw: bool = True,
    ):
        super().__init__("NeuralODE", ODE_SOLVERS, solver, step, rtol, atol, adjoint, max_steps, throw)
        self.field = check_function("NeuralODE", "field", field, "as field(t, y)" if time else "as field(y)")
        self.time, self.span = bool(time), ends_of("NeuralODE", span)
        self.event = check_event("NeuralODE", event, self.step)
        self.separate = bool(separate) or isinstance(self.event, Event)

    def __call__(self, y0: Any, ts: Any = None, args: Any = None) -> Any:
        return self.solve(y0, ts, args).states

    def solve(self, y0: Any, ts: Any = None, args: Any = None) -> Solution:
        """The states, with their times and what it took; takes what a call takes."""
        y0 = states_of(self, y0)
        span = span_of(ts, self.span, y0, alone=self.separate)
        return self._told(self._each(y0, args, span) if self.separate else self._all(y0, args, span))

    def _all(self, y0: Any, args: Any, span: Span) -> Solution:
        """All examples with the same steps."""
        slope = Inside(_slope, self, span.start, y0, args)
        event = made_event(self.event, None, self.rtol, self.atol)
        found = self._run(terms(slope), ODE_SOLVERS, y0, span, (slope.arrays, arrays_among(args)), event)
        slope.move_keys(self)
        return found if span.save is None else found._replace(states=jax.tree.map(_times_second, found.states))

    def _each(self, y0: Any, args: Any, span: Span) -> Solution:
        """Each example with steps of its own."""
        start = span.start if span.start.ndim == 0 else span.start[0]
        example = start, one_of(y0), one_of(args)
        slope = Inside(_slope_of_one, self, *example)
        stops = Inside(_stop_of_one, self, *example) if isinstance(self.event, Event) else None
        event = made_event(self.event, stops, self.rtol, self.atol)
        axis = None if span.start.ndim == 0 else 0

        def one(y: Any, rest: list[Any], span: Span) -> Solution:
            return self._run(terms(slope), ODE_SOLVERS, y, span, (slope.arrays, rest), event)

        found = jax.vmap(one, in_axes=(0, 0, axis))(y0, arrays_among(args), span)
        slope.move_keys(self)
        return found

    def _brief(self) -> str:
        return f"NeuralODE({named(self.field)}, solver={named(self.solver)})"


def _slope(ode: NeuralODE, t: Any, y: Any, args: Any) -> Any:
    return like_state(y, asked(ode.field, ode.time, t, y, args))


def _slope_of_one(ode: NeuralODE, t: Any, y: Any, args: Any) -> Any:
    return one_of(_slope(ode, t, *with_batch((y, args))))


def _stop_of_one(ode: NeuralODE, t: Any, y: Any, args: Any) -> Any:
    return one_number(asked(ode.event.function, ode.time, t, *with_batch((y, args))))


def _times_second(v: jax.Array) -> jax.Array:
    return jnp.moveaxis(v, 0, 1)
