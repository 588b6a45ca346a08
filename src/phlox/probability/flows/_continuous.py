"""A differential equation as a map that can be undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    RangeError,
    ShapeError,
    State,
    advance,
    check_function,
    describe,
    harmonise,
    jvp,
    key_or_draw,
    shown,
    vmap,
)
from phlox.probability._arguments import choice
from phlox.probability.flows._bijection import Bijection, Moved


class WithTrace(Module):
    r"""A field with the trace of its derivative: $\dot x = f(x)$, $\dot l = \mathrm{tr}\, \partial f / \partial x$.

    It is the field of the equation that ``Continuous`` solves. Examples are to be moved each by itself, as layers on
    the last axis do.

    Shapes:
        x: (batch, features), and its slope; l: (batch,).

    Arguments:
        field: f, a Module or function called with ``x``, and behind it with the context where there is one.
        time: whether the field is called with ``t`` in front; the equation then has ``time=True`` too.
        trace: ``"exact"`` takes one derivative for each feature; ``"hutchinson"`` one alone, along a direction e drawn
            for each solve, $e^\top \frac{\partial f}{\partial x} e$, which is right on the mean.

    Raises:
        RangeError: a field that cannot be called, or another trace.
        ShapeError: a field that does not give a slope like x.

    Source: Grathwohl et al., "FFJORD: free-form continuous dynamics for scalable reversible generative models", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> field = px.probability.WithTrace(lambda x: 3 * x)
    >>> slope, trace = field((jnp.ones((1, 2)), jnp.zeros(1)))
    >>> slope.tolist(), trace.tolist()
    ([[3.0, 3.0]], [6.0])
    """

    field: Callable[..., Any]
    time: bool
    trace: str

    def __init__(
        self, field: Callable[..., Any], *, time: bool = False, trace: Literal["exact", "hutchinson"] = "exact"
    ):
        self.field = check_function("WithTrace", "field", field, "as field(t, x)" if time else "as field(x)")
        self.time = bool(time)
        self.trace = choice("WithTrace", "trace", trace, ("exact", "hutchinson"))

    def __call__(self, *given: Any) -> tuple[jax.Array, jax.Array]:
        time, (state, *rest) = given[: self.time], given[self.time :]
        args: dict[str, Any] = rest[0] if rest else {"direction": None, "context": None}
        behind = () if args["context"] is None else (args["context"],)

        def along(direction: jax.Array) -> tuple[jax.Array, jax.Array]:
            slope, change = jvp(lambda x: self._slope(time, x, behind), (state[0],), (direction,))
            return slope, (direction * change).sum(-1)

        x = state[0]
        if args["direction"] is not None:
            return along(args["direction"])
        axes = jnp.broadcast_to(jnp.eye(x.shape[-1], dtype=x.dtype)[:, None], (x.shape[-1], *x.shape))
        slopes, parts = vmap(along)(axes)
        return slopes[0], parts.sum(0)

    def _slope(self, time: tuple[Any, ...], x: jax.Array, behind: tuple[Any, ...]) -> jax.Array:
        slope = self.field(*time, x, *behind)
        if jnp.shape(slope) != x.shape:
            fix = "let its last layer have as many outputs as there are features"
            raise ShapeError(f"a field that gives {x.shape}", got=describe(slope), fix=fix)
        return slope

    def _brief(self) -> str:
        name = self.field._brief() if isinstance(self.field, Module) else getattr(self.field, "__name__", "field")
        return f"WithTrace({name}, trace={self.trace!r})"


class Continuous(Bijection):
    r"""A differential equation as a map: $z = x(t_1)$, where $\dot x = f(x)$ from $x(t_0) = x$.

    The logarithm of how it stretches space is the trace of the field's derivative, added up on the way. The inverse
    solves the equation backwards, so both are as exact as the solver's tolerances.

    Shapes:
        x, z: (..., features); context: (..., given), which the field gets behind x.

    Arguments:
        ode: a ``px.science.NeuralODE`` of a field ``WithTrace``, with its solver, tolerances, span and adjoint.
        key: where directions of ``trace="hutchinson"`` are drawn from, State that moves on at each call; by default
            the stream of ``px.seed``.

    Raises:
        RangeError: no equation of a field with its trace.

    Source: Chen et al., "Neural ordinary differential equations", 2018; Grathwohl et al., "FFJORD: free-form continuous
    dynamics for scalable reversible generative models", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> field = px.probability.WithTrace(lambda x: 2 * x)
    >>> z, stretch = px.probability.Continuous(px.science.NeuralODE(field, rtol=1e-6))(jnp.ones((1, 3)))
    >>> round(float(jnp.log(z[0, 0])), 3), round(float(stretch[0]), 3)
    (2.0, 6.0)
    """

    ode: Any
    key: State  # () typed random key

    def __init__(self, ode: Any, *, key: Any = None):
        if not isinstance(getattr(ode, "field", None), WithTrace) or not hasattr(ode, "span"):
            fix = "write px.science.NeuralODE(px.probability.WithTrace(field))"
            raise RangeError("an equation of a field WithTrace", got=shown(ode), fix=fix, where="Continuous")
        if bool(ode.time) != ode.field.time:
            fix = "give time=True to both, or to neither"
            got = f"time={ode.time} for the equation and time={ode.field.time} for its field"
            raise RangeError("one answer to whether the field gets the time", got=got, fix=fix, where="Continuous")
        self.ode = ode
        self.key = key_or_draw(key)

    def __call__(self, x: Any, context: Any = None) -> Moved:
        return self._solved(x, context, self.ode.span)

    def inverse(self, z: Any, context: Any = None) -> Moved:
        """The x that the map takes to z, and the logarithm of how the inverse stretches space."""
        return self._solved(z, context, self.ode.span[::-1])

    def _solved(self, x: Any, context: Any, span: tuple[float, float]) -> Moved:
        (x,) = harmonise(self, x)
        if x.ndim < 1 or not jnp.issubdtype(x.dtype, jnp.floating):
            fix = "put the features along the last axis"
            raise ShapeError("floating (..., features)", got=describe(x), fix=fix, where=self._brief())
        rows = x.reshape(-1, x.shape[-1])
        if context is not None:
            given = jnp.asarray(context)
            context = jnp.broadcast_to(given, (*x.shape[:-1], given.shape[-1])).reshape(-1, given.shape[-1])
        direction = None
        if self.ode.field.trace == "hutchinson":
            direction = jax.random.rademacher(advance(self), rows.shape, rows.dtype)
        start = rows, jnp.zeros(rows.shape[:1], rows.dtype)
        ends = jnp.asarray(span, rows.dtype)
        z, stretch = self.ode(start, ends, {"direction": direction, "context": context})
        return z[:, -1].reshape(x.shape), stretch[:, -1].reshape(x.shape[:-1])

    def _brief(self) -> str:
        return f"Continuous({self.ode._brief()})"
