"""What layers have in common that find where a function is zero, or gives what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, check_size, describe, place_of, raised_later
from phlox.core._compat import Tracer
from phlox.science._checks import check_positive
from phlox.science._errors import SolverError
from phlox.science._inside import Inside
from phlox.science._peers import equinox, lineax, optimistix

_LINEAR: Mapping[str, str] = {"gmres": "GMRES", "bicgstab": "BiCGStab", "lu": "LU"}


class Root(NamedTuple):
    """What was found, and what it took; where each example is solved alone, counts are (batch,)."""

    value: Any
    """What the layer gives, (batch, ...)."""
    steps: jax.Array
    finished: jax.Array
    """Whether the tolerances were met."""


@dataclass(frozen=True)
class Equals:
    """A function of what is looked for, as Optimistix calls it."""

    inside: Inside

    def __call__(self, z: Any, args: tuple[list[Any], list[Any]]) -> Any:
        """What must be zero, or z again."""
        return self.inside(args[0], z, args[1])


class Implicit(Module):
    """A solver of Optimistix's with its settings; what it solves, the subclasses know.

    Arguments:
        layer: the name of the layer, for errors.
        solver: a name among ``solvers``, or an object of one of Optimistix's ``bases``.
        rtol, atol: the change allowed in a last step, as a share of what is looked for and in its units; also the error
            of linear systems that are solved in steps.
        max_steps: steps after which it counts as not found.
        linear_solver: how the linear system of the gradient is solved, a name or an object of Lineax's.
        throw: whether a failure raises; else what is found is NaN.
    """

    solver: Any
    rtol: float
    atol: float
    max_steps: int
    linear_solver: Any
    throw: bool

    def __init__(
        self,
        layer: str,
        solvers: Mapping[str, str],
        bases: tuple[str, ...],
        solver: Any,
        rtol: float,
        atol: float,
        max_steps: int,
        linear_solver: Any,
        throw: bool,
    ):
        kinds = tuple(getattr(optimistix(), base) for base in bases)
        self.solver = _checked(layer, "solver", solver, solvers, kinds)
        linear = (lineax().AbstractLinearSolver,)
        self.linear_solver = _checked(layer, "linear_solver", linear_solver, _LINEAR, linear)
        self.rtol, self.atol = check_positive(layer, "rtol", rtol), check_positive(layer, "atol", atol)
        self.max_steps = check_size(layer, "max_steps", max_steps)
        self.throw = bool(throw)

    def _made(self, solvers: Mapping[str, str]) -> tuple[Any, Any]:
        """Optimistix's solver, and its way to gradients."""
        linear, solver = self.linear_solver, self.solver
        if isinstance(linear, str):
            steps = {} if linear == "lu" else {"rtol": self.rtol, "atol": self.atol}
            linear = getattr(lineax(), _LINEAR[linear])(**steps)
        if isinstance(solver, str):
            more = {} if solver == "fixed_point" else {"linear_solver": linear}
            solver = getattr(optimistix(), solvers[solver])(self.rtol, self.atol, **more)
        return solver, optimistix().ImplicitAdjoint(linear_solver=linear)

    def _told(self, found: Root) -> Root:
        """One that was not found raises, or is NaN."""
        failed = jnp.any(~found.finished)
        if not self.throw:
            return found._replace(value=jax.tree.map(lambda v: _nan_where(~found.finished, v), found.value))
        error = SolverError(
            f"to meet rtol={self.rtol:g} and atol={self.atol:g} within max_steps={self.max_steps}",
            got=f"{self.max_steps} steps without, or numbers that are not finite",
            fix="give more max_steps or larger tolerances, begin nearer (initial=), or make the function change less "
            "from step to step: solver='newton', smaller weights",
        )
        if not isinstance(failed, Tracer):
            if failed:
                raise error
            return found
        error.where, error.located = place_of(self), True
        return found._replace(value=equinox().error_if(found.value, failed, raised_later(error)))


def result_of(found: Any) -> Root:
    """A solution of Optimistix's."""
    finite = jnp.array([jnp.all(jnp.isfinite(v)) for v in jax.tree.leaves(found.value)]).all()
    reached = found.result == optimistix().RESULTS.successful
    return Root(found.value, jnp.asarray(found.stats["num_steps"]), jnp.asarray(reached) & finite)


def _nan_where(failed: jax.Array, v: jax.Array) -> jax.Array:
    return jnp.where(failed.reshape(failed.shape + (1,) * (v.ndim - failed.ndim)), jnp.nan, v)


def _checked(layer: str, what: str, given: Any, names: Mapping[str, str], kinds: tuple[type, ...]) -> Any:
    """A name of the table, or an object of one of these classes, as it was given."""
    if (isinstance(given, str) and given in names) or isinstance(given, kinds):
        return given
    expected = f"{what} as {', '.join(map(repr, names))}, or an object of {' or '.join(k.__name__ for k in kinds)}"
    raise RangeError(
        expected, got=repr(given) if isinstance(given, str) else describe(given), fix="choose a name", where=layer
    )
