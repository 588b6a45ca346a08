"""What all layers that solve differential equations share: a solver, steps, an adjoint, and what came of a solve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import (
    DtypeError,
    Module,
    RangeError,
    ShapeError,
    check_size,
    describe,
    harmonise,
    paths,
    place_of,
    raised_later,
)
from phlox.core._compat import Tracer
from phlox.science._checks import check_positive
from phlox.science._errors import SolverError
from phlox.science._peers import diffrax, equinox
from phlox.science.equations._names import ADJOINTS, check_named, made


class Solution(NamedTuple):
    """What a solve gave, and what it took. Where each example is solved alone, counts are (batch,).

    >>> import jax.numpy as jnp, phlox as px
    >>> decay = px.science.NeuralODE(lambda y: -y, solver="heun", separate=True)
    >>> found = px.eval_shape(decay.solve, jnp.ones((4, 1)))
    >>> found.states.shape, found.steps.shape, found.finished.dtype
    ((4, 1), (4,), dtype('bool'))
    """

    states: Any
    """(batch, ...) at the last time, or (batch, times, ...) at the times asked for."""
    times: jax.Array
    """The last time, or the times asked for; inf behind an event."""
    steps: jax.Array
    """Steps taken, accepted and rejected ones together."""
    accepted: jax.Array
    rejected: jax.Array
    finished: jax.Array
    """Whether the last time, or an event, was reached."""
    stopped: jax.Array
    """Whether an event ended it."""


class Span(NamedTuple):
    """The times of one solve, as arrays of the state's dtype."""

    start: jax.Array
    end: jax.Array
    save: jax.Array | None


class Equation(Module):
    """A solver of Diffrax's with its settings; what it solves, the subclasses know.

    Arguments:
        layer: the name of the layer, for errors.
        solver: a name among ``names``, or an object of ``diffrax.AbstractSolver``.
        step: the size of all steps, in units of time; None lets the solver choose each by ``rtol`` and ``atol``.
        rtol, atol: the error allowed in a step, as a share of the state and in its units.
        adjoint: how gradients are taken.
        max_steps: steps after which a solve counts as failed.
        throw: whether such a failure raises; else its states are NaN.
    """

    solver: Any
    step: float | None
    rtol: float
    atol: float
    adjoint: Any
    max_steps: int
    throw: bool

    def __init__(
        self,
        layer: str,
        names: Mapping[str, str],
        solver: Any,
        step: float | None,
        rtol: float,
        atol: float,
        adjoint: Any,
        max_steps: int,
        throw: bool,
    ):
        self.solver = check_named(layer, "solver", solver, names, "AbstractSolver")
        self.adjoint = check_named(layer, "adjoint", adjoint, ADJOINTS, "AbstractAdjoint")
        self.step = None if step is None else check_positive(layer, "step", step)
        self.rtol, self.atol = check_positive(layer, "rtol", rtol), check_positive(layer, "atol", atol)
        self.max_steps = check_size(layer, "max_steps", max_steps)
        self.throw = bool(throw)
        _check_steps(layer, made(self.solver, names), self.step)

    def _run(
        self,
        terms: Any,
        names: Mapping[str, str],
        y0: Any,
        span: Span,
        args: Any,
        event: Any = None,
        jumps: jax.Array | None = None,
    ) -> Solution:
        """One solve; under ``jax.vmap`` one of many. ``jumps`` are times at which the field jumps."""
        peer = diffrax()
        fixed = self.step is not None
        controller = peer.ConstantStepSize() if fixed else peer.PIDController(rtol=self.rtol, atol=self.atol)
        if jumps is not None and not fixed:
            controller = peer.ClipStepSizeController(controller, jump_ts=jumps)
        step = jnp.asarray(self.step or 0.0, span.start.dtype)
        found = peer.diffeqsolve(
            terms,
            made(self.solver, names),
            span.start,
            span.end,
            jnp.where(span.end < span.start, -step, step) if fixed else None,
            y0,
            args,
            saveat=peer.SaveAt(t1=True) if span.save is None else peer.SaveAt(ts=span.save),
            stepsize_controller=controller,
            adjoint=made(self.adjoint, ADJOINTS),
            event=event,
            max_steps=self.max_steps,
            throw=False,
        )
        stopped = peer.is_event(found.result)
        only = (lambda v: v[0]) if span.save is None else (lambda v: v)
        return Solution(
            jax.tree.map(only, found.ys),
            only(found.ts),
            jnp.asarray(found.stats["num_steps"]),
            jnp.asarray(found.stats["num_accepted_steps"]),
            jnp.asarray(found.stats["num_rejected_steps"]),
            jnp.asarray(peer.is_successful(found.result) | stopped),
            jnp.asarray(stopped),
        )

    def _told(self, found: Solution) -> Solution:
        """A solve that did not finish raises, or has states that are NaN."""
        failed = jnp.any(~found.finished)
        if not self.throw:
            return found._replace(states=jax.tree.map(lambda v: _nan_where(~found.finished, v), found.states))
        if not isinstance(failed, Tracer):
            if failed:
                raise self._failure(found)
            return found
        told = self._failure(None)
        told.where, told.located = place_of(self), True
        return found._replace(states=equinox().error_if(found.states, failed, raised_later(told)))

    def _failure(self, found: Solution | None) -> SolverError:
        got = f"{self.max_steps} steps before the last time"
        if found is not None and jnp.max(found.steps) < self.max_steps:
            got = f"a step that the solver cannot make smaller, after {int(jnp.max(found.steps))} steps"
        elif found is None:
            got += ", or a step that the solver cannot make smaller"
        return SolverError(
            f"to reach the last time within max_steps={self.max_steps}",
            got=got,
            fix="give more max_steps, larger rtol and atol or step; a stiff equation takes "
            "solver='kvaerno5', and one whose states grow beyond all bounds has no solution so far out",
        )


def _check_steps(layer: str, solver: Any, step: float | None) -> None:
    """Refuse steps that the solver cannot take."""
    peer = diffrax()
    if step is None and not isinstance(solver, peer.AbstractAdaptiveSolver):
        raise RangeError(
            f"step, as {type(solver).__name__} has no estimate of its error to choose steps by",
            got="None",
            fix="give the size of a step, in units of time: step=0.1",
            where=layer,
        )
    if step is not None and isinstance(solver, peer.AbstractImplicitSolver):
        raise RangeError(
            f"no step, as {type(solver).__name__} solves for each step to the tolerance that chooses steps",
            got=f"step={step}",
            fix="leave step out, and set rtol and atol",
            where=layer,
        )


def _nan_where(failed: jax.Array, v: jax.Array) -> jax.Array:
    return jnp.where(failed.reshape(failed.shape + (1,) * (v.ndim - failed.ndim)), jnp.nan, v)


# --- what goes in ------------------------------------------------------------------------------------


def states_of(layer: Module, y0: Any) -> Any:
    """The first states as arrays of 32 or 64 bits, each with a batch axis.

    Raises:
        ShapeError: one without a batch axis, or batches of different sizes.
        DtypeError: half precision, in which times cannot be told apart.
    """
    known = next((v.dtype for v in paths(layer).values() if jnp.issubdtype(v.dtype, jnp.inexact)), None)

    def state(v: Any) -> jax.Array:
        (v,) = harmonise(layer, v)
        if not jnp.issubdtype(v.dtype, jnp.inexact):
            v = v.astype(known or jnp.result_type(float))
        if jnp.finfo(v.dtype).bits < 32:
            fix = 'write y0.astype("float32"); layers within compute in 16 bits under px.dtypes(compute="bfloat16")'
            raise DtypeError("states of 32 or 64 bits, as times have their dtype", got=describe(v), fix=fix)
        return v

    y0 = jax.tree.map(state, y0)
    leaves = jax.tree.leaves(y0)
    least = 2 if len(leaves) == 1 and leaves[0] is y0 else 1
    for v in leaves:
        if v.ndim < least:
            raise ShapeError("(batch, ...)", got=describe(v), fix="add a batch axis: y0[None]")
    if len({v.shape[0] for v in leaves}) != 1 or leaves[0].shape[0] == 0:
        got = ", ".join(describe(v) for v in leaves) or "no array"
        raise ShapeError("states of one batch size, 1 or more", got=got, fix="put the examples along the first axis")
    return y0


def span_of(ts: Any, ends: tuple[float, float], y0: Any, *, alone: bool = False) -> Span:
    """The times of a solve: from end to end, or those to save at, of which the first is the start.

    ``alone`` allows times of each example's own, (batch, times).

    Raises:
        ShapeError: times of another shape, or fewer than two.
        RangeError: times that go back and forth.
    """
    y = jax.tree.leaves(y0)[0]
    dtype = jnp.finfo(y.dtype).dtype
    if ts is None:
        return Span(jnp.asarray(ends[0], dtype), jnp.asarray(ends[1], dtype), None)
    ts = jnp.asarray(ts)
    allowed: list[tuple[int, ...]] = [(ts.shape[-1],)] if ts.ndim else []
    if ts.ndim and alone:
        allowed.append((y.shape[0], ts.shape[-1]))
    if ts.shape not in allowed or ts.shape[-1] < 2:
        expected = "ts as (times,)" + (f" or ({y.shape[0]}, times)" if alone else "") + ", two times or more"
        fix = "give the time of the first state, and those to save at"
        if ts.ndim == 2 and not alone:
            fix = "solve each example alone: separate=True; or give times that all examples share"
        raise ShapeError(expected, got=describe(ts), fix=fix)
    if not isinstance(ts, Tracer):
        gaps: Any = np.diff(np.asarray(ts), axis=-1)
        if not (np.all(gaps > 0) or np.all(gaps < 0)):
            fix = "sort them; the first is the time of the first state"
            raise RangeError("times that rise, or fall, from each to the next", got=f"ts = {ts}", fix=fix)
    ts = ts.astype(dtype)
    return Span(ts[..., 0], ts[..., -1], ts)


def ends_of(layer: str, span: Any) -> tuple[float, float]:
    """A first and a last time, which differ."""
    try:
        start, end = map(float, span)
    except (TypeError, ValueError):
        start = end = 0.0
    if start == end or np.isnan(start) or np.isnan(end):
        fix = "give the first and the last time, such as (0.0, 1.0)"
        raise RangeError("span as two times that differ", got=repr(span), fix=fix, where=layer)
    return start, end


# --- vector fields -----------------------------------------------------------------------------------


def like_state(y: Any, slope: Any, what: str = "a vector field") -> Any:
    """The slope in the state's dtype; raises where it is not like the state.

    Raises:
        ShapeError: another shape, or another tree.
        DtypeError: a wider dtype.
    """
    ours, theirs = jax.tree.structure(y), jax.tree.structure(slope)
    if ours != theirs or any(
        jnp.shape(a) != jnp.shape(b) for a, b in zip(*map(jax.tree.leaves, (y, slope)), strict=True)
    ):
        raise ShapeError(
            f"{what} that gives a slope like the state, {shapes(y)}",
            got=shapes(slope),
            fix="let its last layer have as many outputs as the state has features",
        )

    def cast(a: Any, b: Any) -> jax.Array:
        b = jnp.asarray(b)
        if jnp.promote_types(a.dtype, b.dtype) != a.dtype:
            fix = f'convert the first state, y0.astype("{b.dtype}"), or the model, px.f32(model)'
            raise DtypeError(f"{what} that gives {a.dtype}, as the state is", got=describe(b), fix=fix)
        return b.astype(a.dtype)

    return jax.tree.map(cast, y, slope)


def shapes(tree: Any) -> str:
    """A tree of arrays for a message."""
    leaves = jax.tree.leaves(tree)
    text = ", ".join(describe(v) for v in leaves)
    return text if len(leaves) == 1 and leaves[0] is tree else f"({text})"
