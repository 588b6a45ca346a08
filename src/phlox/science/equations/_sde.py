"""Neural stochastic differential equations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError, ShapeError, State, advance, check_function, check_size, describe, key_or_draw
from phlox.core._compat import Tracer
from phlox.science._checks import check_positive
from phlox.science._inside import Inside
from phlox.science._peers import diffrax, lineax
from phlox.science.equations._equation import Equation, Solution, Span, ends_of, like_state, span_of, states_of
from phlox.science.equations._fields import (
    Arguments,
    arrays_among,
    asked,
    named,
    one_of,
    terms,
    with_batch,
)
from phlox.science.equations._names import SDE_SOLVERS, made


class NeuralSDE(Equation):
    r"""A path of a stochastic differential equation: $dy(t) = f(t, y(t))\,dt + g(t, y(t))\,dW(t)$.

    Each example has a Brownian motion of its own, the same at any step size for one key. The layer owns a key as
    State and moves it on at each call, in training or not. The solver decides what the equation means: with ``"euler"``
    (Euler–Maruyama) and ``"ito_milstein"`` it is Itô's, with all others Stratonovich's.

    Shapes:
        y0: (batch, ...); y: (batch, ...) at the last time, or with ``ts`` (batch, times, ...); ts: (times,) rising, the
        first being that of y0. What g gives: (batch, ...) as y, or with ``noise`` (batch, ..., noise).

    Arguments:
        drift, diffusion: f and g, Modules or functions called with ``y``, a batch of one.
        noise: how many Brownian motions drive each example, by a matrix that g gives; None is one for each number of
            the state.
        time: whether they are called with ``(t, y)``.
        span: the first and the last time, where a call gives none.
        solver: ``"euler"``, another name of ``px.science.SDE_SOLVERS``, or an object of ``diffrax.AbstractSolver``.
        step: the size of all steps, in units of time.
        adjoint: how gradients are taken, as in ``NeuralODE``; ``"backsolve"`` only of Stratonovich's.
        max_steps, throw: as in ``NeuralODE``.
        key: where its randomness starts; by default the stream of ``px.seed``.

    Called with ``(y0, ts=None, args=None)``, where arrays of ``args`` have a batch axis; ``solve`` takes the same and
    gives a ``Solution``.

    Raises:
        RangeError: names that there are not, a number out of range, times that do not rise.
        ShapeError, DtypeError, StateError, SolverError: as ``NeuralODE``; a diffusion of another shape.

    Source: Li et al., "Scalable gradients for stochastic differential equations", 2020; Kidger, "On neural
    differential equations", 2021.

    >>> import jax.numpy as jnp, phlox as px
    >>> sde = px.science.NeuralSDE(px.Dense(2, 2), lambda y: 0.5 * jnp.ones_like(y), step=0.05)
    >>> px.eval_shape(sde, jnp.ones((100, 2)), jnp.linspace(0.0, 1.0, 5)).shape
    (100, 5, 2)
    """

    drift: Callable[..., Any]
    diffusion: Callable[..., Any]
    noise: int | None
    time: bool
    span: tuple[float, float]
    key: State  # () typed random key

    def __init__(
        self,
        drift: Callable[..., Any],
        diffusion: Callable[..., Any],
        *,
        noise: int | None = None,
        time: bool = False,
        span: tuple[float, float] = (0.0, 1.0),
        solver: Any = "euler",
        step: float = 0.01,
        adjoint: Any = "recursive_checkpoint",
        max_steps: int = 4096,
        throw: bool = True,
        key: Any = None,
    ):
        step = check_positive("NeuralSDE", "step", step)
        super().__init__("NeuralSDE", SDE_SOLVERS, solver, step, 1e-3, 1e-6, adjoint, max_steps, throw)
        called = "as drift(t, y)" if time else "as drift(y)"
        self.drift = check_function("NeuralSDE", "drift", drift, called)
        self.diffusion = check_function("NeuralSDE", "diffusion", diffusion, called.replace("drift", "diffusion"))
        self.noise = None if noise is None else check_size("NeuralSDE", "noise", noise)
        self.time, self.span = bool(time), ends_of("NeuralSDE", span)
        self.key = key_or_draw(key)

    def __call__(self, y0: Any, ts: Any = None, args: Any = None) -> Any:
        return self.solve(y0, ts, args).states

    def solve(self, y0: Any, ts: Any = None, args: Any = None) -> Solution:
        """The states, with their times and what it took; takes what a call takes."""
        y0 = states_of(self, y0)
        if not isinstance(y0, jax.Array):
            raise ShapeError(
                "one array, (batch, ...)", got=type(y0).__name__, fix="put the parts of the state side by side"
            )
        span = span_of(ts, self.span, y0)
        _check_rising(span)
        example = span.start, one_of(y0), one_of(args)
        drift, diffusion = Inside(_drift, self, *example), Inside(_diffusion, self, *example)
        keys = jax.random.split(advance(self), y0.shape[0])

        def one(y: Any, rest: list[Any], key: Any) -> Solution:
            noise = diffrax().ControlTerm(Spread(diffusion, self.noise is None), self._brownian(y, span, key))
            both = diffrax().MultiTerm(terms(drift), noise)
            return self._run(both, SDE_SOLVERS, y, span, (drift.arrays, rest), None)

        found = jax.vmap(one)(y0, arrays_among(args), keys)
        drift.move_keys(self)
        diffusion.move_keys(self)
        return self._told(found)

    def _brownian(self, y: jax.Array, span: Span, key: Any) -> Any:
        """The Brownian motion of one example."""
        peer = diffrax()
        shape = y.shape if self.noise is None else (self.noise,)
        least = getattr(made(self.solver, SDE_SOLVERS), "minimal_levy_area", peer.BrownianIncrement)
        area = peer.BrownianIncrement if issubclass(peer.BrownianIncrement, least) else peer.SpaceTimeLevyArea
        increments = jax.ShapeDtypeStruct(shape, y.dtype)
        assert self.step is not None
        return peer.VirtualBrownianTree(span.start, span.end, self.step / 2, increments, key, area)

    def _brief(self) -> str:
        return f"NeuralSDE({named(self.drift)}, {named(self.diffusion)}, solver={named(self.solver)})"


@dataclass(frozen=True)
class Spread:
    """How noise comes in, as ``diffrax.ControlTerm`` calls it: a matrix, or the diagonal of one."""

    inside: Inside
    diagonal: bool

    def __call__(self, t: Any, y: Any, args: Arguments) -> Any:
        """What the Brownian increment is multiplied by."""
        spread = self.inside(args[0], t, y, args[1])
        return lineax().DiagonalLinearOperator(spread) if self.diagonal else spread


def _drift(sde: NeuralSDE, t: Any, y: Any, args: Any) -> Any:
    y, args = with_batch((y, args))
    return one_of(like_state(y, asked(sde.drift, sde.time, t, y, args), "a drift"))


def _diffusion(sde: NeuralSDE, t: Any, y: Any, args: Any) -> Any:
    y, args = with_batch((y, args))
    spread = asked(sde.diffusion, sde.time, t, y, args)
    if sde.noise is None:
        return one_of(like_state(y, spread, "a diffusion"))
    if jnp.shape(spread) != (*y.shape, sde.noise):
        fix = "let it give a matrix for each example, or leave noise out"
        raise ShapeError(f"a diffusion of {(*y.shape, sde.noise)}", got=describe(spread), fix=fix)
    return jnp.asarray(spread)[0].astype(y.dtype)


def _check_rising(span: Span) -> None:
    if not isinstance(span.end, Tracer) and span.end < span.start:
        fix = "turn the times round"
        raise RangeError(
            "times that rise, as a Brownian motion has a direction", got=f"{span.start} to {span.end}", fix=fix
        )
