"""Minimisers of second order on a Module: BFGS, L-BFGS and Levenberg–Marquardt."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    RangeError,
    check_function,
    check_size,
    destructure,
    jit,
    shown,
    trainable_arrays,
    training,
    write_arrays,
)
from phlox.nn import reference_forms
from phlox.science._checks import check_positive
from phlox.science._errors import SolverError
from phlox.science._peers import lineax, optimistix
from phlox.science.physics._balance import slopes_at
from phlox.science.physics._pinn import PINN, Left, physics_loss

_METHODS = {"bfgs": "BFGS", "lbfgs": "LBFGS", "levenberg_marquardt": "LevenbergMarquardt"}


class Minimum(NamedTuple):
    """What a minimiser came to."""

    value: jax.Array
    """The loss at the end, ()."""
    steps: jax.Array
    """How many were taken, ()."""
    finished: jax.Array
    """Whether the tolerances were met, (); else it stopped after its steps."""


def minimise(
    fn: Callable[..., Any],
    model: Module,
    *args: Any,
    method: str = "bfgs",
    steps: int = 1000,
    rtol: float = 1e-8,
    atol: float = 1e-8,
) -> Minimum:
    r"""Move a model's parameters, in place, to where a loss is least, by curvature: after ``px.fit`` with Adam, say.

    The whole search is one compiled call on the same data. The model infers in it, so State stays, the weights of a
    ``PINN`` among it. Far into it losses fall below what float32 can tell apart: give ``px.f64(model)`` and points in
    float64.

    Arguments:
        fn: ``fn(model, *args)``, a loss, or a loss and a dict; with Levenberg–Marquardt the residuals, a tree of
            arrays whose squares are summed. ``px.science.physics_loss`` serves all methods.
        model: whose trainable parameters move.
        args: arrays, and trees of them.
        method: ``"bfgs"``, whose matrix has the square of the number of parameters; ``"lbfgs"``, which remembers ten
            steps; ``"levenberg_marquardt"``, a linear system of least squares each step, for some thousand parameters.
        steps: after which it stops.
        rtol, atol: the change of parameters and loss allowed in a last step, as a share and in their units.

    Returns:
        A ``Minimum``: the value, the steps, whether the tolerances were met.

    Raises:
        RangeError: another method, or numbers out of range.
        SolverError: a loss that is not finite; the model then is what it was.

    Source: Nocedal and Wright, "Numerical optimization", 2006, chapters 6, 7 and 10; the solvers are Optimistix's.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Dense.of(jnp.array([[3.0]]), None)
    >>> found = px.science.minimise(lambda model: (model(jnp.ones((1, 1))) - 1.0).sum() ** 2, model)
    >>> round(model.weight.item(), 4), bool(found.finished)
    (1.0, True)
    """
    where = "px.science.minimise"
    check_function(where, "fn", fn, "as fn(model, *args)")
    if not isinstance(model, Module):
        fix = "pass the model second"
        raise RangeError("a Module whose parameters move", got=shown(model), fix=fix, where=where)
    if method not in _METHODS:
        names = ", ".join(map(repr, _METHODS))
        raise RangeError(f"method as one of {names}", got=repr(method), fix="choose one of them", where=where)
    steps = check_size(where, "steps", steps)
    search = _search(fn, method, steps, check_positive(where, "rtol", rtol), check_positive(where, "atol", atol))
    vector, restore = destructure(model)
    with training(False), reference_forms():  # least squares go forward through the model
        vector, found = search(model, *args)
    if not bool(jnp.isfinite(found.value)) or not bool(jnp.isfinite(vector).all()):
        fix = "begin with px.fit and Adam, and look at the loss of the model as it is"
        raise SolverError("a loss that is finite", got=f"{float(found.value):g}", fix=fix, where=where)
    write_arrays(model, trainable_arrays(restore(vector)))
    return found


@functools.lru_cache(maxsize=32)  # so that a second call with the same function compiles nothing
def _search(fn: Callable[..., Any], method: str, steps: int, rtol: float, atol: float) -> Any:
    """A compiled function of a model and arguments, that gives the parameters as a vector and a ``Minimum``."""

    @jit
    def search(model: Module, *args: Any) -> tuple[jax.Array, Minimum]:
        vector, restore = destructure(model)
        if method == "levenberg_marquardt":
            return _least_squares(fn, vector, restore, args, steps, rtol, atol)
        solver = getattr(optimistix(), _METHODS[method])(rtol, atol)

        def value(vector: jax.Array, _: None) -> jax.Array:
            found = fn(restore(vector), *args)
            return found[0] if isinstance(found, tuple) else found

        found = optimistix().minimise(value, solver, vector, max_steps=steps, throw=False)
        return found.value, _told(found, value(found.value, None))

    return search


def _least_squares(
    fn: Callable[..., Any],
    vector: jax.Array,
    restore: Callable[..., Any],
    args: tuple[Any, ...],
    steps: int,
    rtol: float,
    atol: float,
) -> tuple[jax.Array, Minimum]:
    """Levenberg and Marquardt's method on the residuals of a function, or of a ``PINN``."""
    of_physics = fn is physics_loss
    residuals = _physics(restore, *args) if of_physics else lambda vector: _flat(fn(restore(vector), *args))
    # The normal equations lose digits that damping would not let through anyway, and take a fraction of QR's time.
    solver = optimistix().LevenbergMarquardt(rtol, atol, linear_solver=lineax().Normal(lineax().Cholesky()))
    found = optimistix().least_squares(
        lambda vector, _: residuals(vector), solver, vector, max_steps=steps, throw=False
    )
    return found.value, _told(found, jnp.sum(residuals(found.value) ** 2))


def _told(found: Any, value: jax.Array) -> Minimum:
    return Minimum(value, found.stats["num_steps"], found.result == optimistix().RESULTS.successful)


def _flat(residuals: Any) -> jax.Array:
    return jnp.concatenate([jnp.ravel(r) for r in jax.tree.leaves(residuals)])


def _physics(restore: Callable[..., Any], points: Any) -> Callable[[jax.Array], jax.Array]:
    """The residuals of a ``PINN`` whose squares add up to its loss, as a function of its parameters.

    Their Jacobian is put together from the slopes at each point, which takes one pass over the points, where forward
    mode takes one for each parameter.
    """

    @jax.custom_jvp
    def residuals(vector: jax.Array) -> jax.Array:
        return _flat([share * r for _, share, left in _terms(restore(vector), points) for r in left.equations])

    @residuals.defjvp
    def forward(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
        (vector,), (along,) = primals, tangents
        return residuals(vector), jacobian(vector) @ along

    def jacobian(vector: jax.Array) -> jax.Array:
        pinn = restore(vector)
        given = pinn.points_by_name(points)
        blocks = []
        for name, share, left in _terms(pinn, points):
            slopes = jax.vmap(slopes_at(restore, name), in_axes=(None, 0))(vector, given[name])
            by_equation = jnp.moveaxis(slopes, 1, 0)  # (equations, batch, parameters)
            blocks.append(jnp.broadcast_to(share, left.equations[0].shape)[:, None] * by_equation)
        return jnp.concatenate([block.reshape(-1, vector.size) for block in blocks])

    return residuals


def _terms(pinn: PINN, points: Any) -> Iterator[tuple[str, jax.Array, Left]]:
    """Each term's name, the roots of how much its points count in the loss, and what is left of it."""
    given = pinn.points_by_name(points)
    for name, weight in zip(pinn.terms, pinn.weights, strict=True):
        left = pinn.left(name, given[name])
        count = left.equations[0].shape[0]
        yield name, jnp.sqrt(weight.astype(left.factors.dtype) * left.factors / count), left
