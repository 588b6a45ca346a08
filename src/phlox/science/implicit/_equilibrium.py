"""Layers of endless depth: what a block gives when it is applied again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import ShapeError, check_function, harmonise
from phlox.science._inside import Inside
from phlox.science._peers import optimistix
from phlox.science.equations._equation import like_state, shapes
from phlox.science.equations._fields import arrays_among, named, one_of, with_batch
from phlox.science.implicit._root import Equals, Implicit, Root, result_of

_SOLVERS = {"fixed_point": "FixedPointIteration", "newton": "Newton"}
_FINDERS = {"newton": "Newton", "chord": "Chord", "dogleg": "Dogleg", "levenberg_marquardt": "LevenbergMarquardt"}


class DeepEquilibrium(Implicit):
    r"""The point at which a block stays where it is: $z = f(z, x)$.

    Its gradient is that of the point, by the implicit function theorem: one linear system, whatever number of steps
    found the point, and no step is kept. Keys that layers of the block draw with stay as they are until it is found and
    move on after it; State may be read alone.

    Shapes:
        x: (batch, ...); z: like what ``initial`` gives, (batch, ...).

    Arguments:
        function: f, a Module or function called as ``function(z, x)``, that gives what is like z. Steps come to a point
            where it brings any two z closer together, as it does with weights that are small enough.
        initial: the first z, a function of x; by default zeros like x.
        solver: ``"fixed_point"`` applies f again and again, ``"newton"`` takes Newton's steps; or an object of
            Optimistix's.
        rtol, atol: the change allowed in the last step, as a share of z and in its units.
        max_steps: steps after which it counts as not found.
        linear_solver: how the gradient's system is solved, and Newton's: ``"gmres"``, ``"bicgstab"``, ``"lu"`` (which
            makes the whole matrix, for small ones), or an object of Lineax's.
        throw: whether a failure raises; else z is NaN.

    ``solve(x)`` gives a ``Root``: the value, steps taken, whether it was found.

    Raises:
        RangeError: names that there are not, or numbers out of range.
        ShapeError: a block that gives what is unlike z.
        StateError: the block writes State that is no key.
        SolverError: not found within ``max_steps``. In a compiled function JAX's own error carries its text.

    Source: Bai, Kolter and Koltun, "Deep equilibrium models", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> layer = px.science.DeepEquilibrium(lambda z, x: jnp.cos(z) + x, rtol=1e-6, atol=1e-6)
    >>> round(float(layer(jnp.zeros((1, 1)))[0, 0]), 4)
    0.7391
    """

    function: Callable[..., Any]
    initial: Callable[..., Any] | None

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        initial: Callable[..., Any] | None = None,
        solver: Any = "fixed_point",
        rtol: float = 1e-4,
        atol: float = 1e-4,
        max_steps: int = 256,
        linear_solver: Any = "gmres",
        throw: bool = True,
    ):
        bases = ("AbstractFixedPointSolver", "AbstractRootFinder")
        super().__init__("DeepEquilibrium", _SOLVERS, bases, solver, rtol, atol, max_steps, linear_solver, throw)
        self.function = check_function("DeepEquilibrium", "function", function, "as function(z, x)")
        called = "as initial(x)"
        self.initial = initial if initial is None else check_function("DeepEquilibrium", "initial", initial, called)

    def __call__(self, x: Any) -> Any:
        return self.solve(x).value

    def solve(self, x: Any) -> Root:
        """The point, with what it took."""
        x = jax.tree.map(lambda v: harmonise(self, v)[0], x)
        z0 = jax.tree.map(jnp.zeros_like, x) if self.initial is None else self.initial(x)
        same = Inside(_again, self, z0, x)
        solver, adjoint = self._made(_SOLVERS)
        args = same.arrays, arrays_among(x)
        found = optimistix().fixed_point(
            Equals(same), solver, z0, args, max_steps=self.max_steps, adjoint=adjoint, throw=False
        )
        same.move_keys(self)
        return self._told(result_of(found))

    def _brief(self) -> str:
        return f"DeepEquilibrium({named(self.function)}, solver={named(self.solver)})"


class ImplicitLayer(Implicit):
    r"""What solves an equation: the y with $F(y, x) = 0$.

    A network, an optimality condition, a balance of forces: whatever F is, y has the gradient that the implicit
    function theorem gives. Each example is solved by itself, so F is called with a batch of one.

    Shapes:
        x: (batch, ...), or a tree of such arrays; y: like what ``initial`` gives, (batch, ...); F gives what is like y.

    Arguments:
        residual: F, a Module or function called as ``residual(y, x)``.
        initial: where the search begins, a function of x that gives (batch, ...).
        solver: ``"newton"``, ``"chord"`` (one matrix for all steps), ``"dogleg"`` and ``"levenberg_marquardt"`` (from
            further away), or an object of Optimistix's.
        rtol, atol, max_steps, throw: as in ``DeepEquilibrium``.
        linear_solver: as there; ``"lu"`` by default.

    ``solve(x)`` gives a ``Root``.

    Raises:
        RangeError, ShapeError, StateError, SolverError: as ``DeepEquilibrium``.

    Source: Kolter, Duvenaud and Johnson, "Deep implicit layers", 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> root = px.science.ImplicitLayer(lambda y, x: y**3 - x, jnp.ones_like)
    >>> [round(float(y), 3) for y in root(jnp.array([[8.0], [27.0]]))[:, 0]]
    [2.0, 3.0]
    """

    residual: Callable[..., Any]
    initial: Callable[..., Any]

    def __init__(
        self,
        residual: Callable[..., Any],
        initial: Callable[..., Any],
        *,
        solver: Any = "newton",
        rtol: float = 1e-5,
        atol: float = 1e-5,
        max_steps: int = 256,
        linear_solver: Any = "lu",
        throw: bool = True,
    ):
        bases = ("AbstractRootFinder", "AbstractLeastSquaresSolver")
        super().__init__("ImplicitLayer", _FINDERS, bases, solver, rtol, atol, max_steps, linear_solver, throw)
        self.residual = check_function("ImplicitLayer", "residual", residual, "as residual(y, x)")
        self.initial = check_function("ImplicitLayer", "initial", initial, "as initial(x)")

    def __call__(self, x: Any) -> Any:
        return self.solve(x).value

    def solve(self, x: Any) -> Root:
        """What solves the equation, with what it took."""
        x = jax.tree.map(lambda v: harmonise(self, v)[0], x)
        y0 = self.initial(x)
        if len({jnp.shape(v)[:1] for v in jax.tree.leaves((x, y0))}) != 1 or not jnp.ndim(jax.tree.leaves(y0)[0]):
            fix = "give x and what initial returns a batch axis"
            raise ShapeError("x and a beginning of one batch size", got=f"{shapes(x)}, {shapes(y0)}", fix=fix)
        zero = Inside(_residual, self, one_of(y0), one_of(x))
        solver, adjoint = self._made(_FINDERS)

        def one(y: Any, rest: list[Any]) -> Root:
            args = zero.arrays, rest
            return result_of(
                optimistix().root_find(
                    Equals(zero), solver, y, args, max_steps=self.max_steps, adjoint=adjoint, throw=False
                )
            )

        found = jax.vmap(one)(y0, arrays_among(x))
        zero.move_keys(self)
        return self._told(found)

    def _brief(self) -> str:
        return f"ImplicitLayer({named(self.residual)}, {named(self.initial)}, solver={named(self.solver)})"


def _again(layer: DeepEquilibrium, z: Any, x: Any) -> Any:
    return like_state(z, layer.function(z, x), "a block")


def _residual(layer: ImplicitLayer, y: Any, x: Any) -> Any:
    y, x = with_batch((y, x))
    return one_of(like_state(y, layer.residual(y, x), "a residual"))
