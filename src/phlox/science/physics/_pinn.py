"""Physics-informed networks: a network, and what must hold of it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    RangeError,
    ShapeError,
    State,
    check_function,
    check_size,
    cond,
    describe,
    destructure,
    param_dtype,
)
from phlox.science.equations._fields import named
from phlox.science.physics._balance import balanced, gradient_norms, kernels
from phlox.science.physics._causal import Causal
from phlox.science.physics._field import Field, as_module, checked_points, with_derivatives

_BALANCES: dict[str | None, Any] = {"gradient_norm": gradient_norms, "ntk": kernels}
_ONE = "equation"  # the name of a term that was given alone


class Left(NamedTuple):
    """What is left of a term at points."""

    equations: list[jax.Array]
    """(batch,) the residuals of each equation."""
    factors: jax.Array
    """() or (batch,) how much each point counts."""
    least: jax.Array | None = None
    """() how much the last stretch of time counts, where early ones count first."""

    @property
    def square(self) -> jax.Array:
        """(batch,) the sum of their squares."""
        return _squares(self.equations)


class PINN(Module):
    r"""A network and what must hold of it, each as a residual that shall be zero: a loss
    $\sum_i w_i \,\overline{r_i^2}$ over terms, without data.

    A residual is a function of the field and of the coordinates, ``def heat(u, x, t): return u.d("t") - u.d("xx")``;
    an initial or boundary value is one too, ``lambda u, x, t: u - jnp.sin(x)``, at points of its own. The names behind
    the first are those of the columns of its points; further ones take arrays that come with the points, as measured
    values: ``lambda u, x, t, seen: u - seen`` at ``(points, seen)``. It may give a tuple, for several equations.
    ``u.model`` is the network, whose further parameters may be unknowns of the equation.

    Arguments:
        network: of points (batch, coordinates), each by itself, a Module or function that gives (batch, outputs).
        terms: the residuals by name, or a single one, which is called ``"equation"``.
        weights: w by name; 1 where nothing is said.
        balance: how they are moved while the network trains: ``"gradient_norm"``, so that all gradients of terms are
            of one length, $w_i = \sum_j \lVert \nabla L_j \rVert / \lVert \nabla L_i \rVert$; ``"ntk"``, so that all
            terms fall alike, with the mean of the diagonal of the neural tangent kernel in place of the norms; None
            leaves them.
        every: steps from one move to the next, of which the first is taken whole.
        momentum: how much of the weights that were is kept in each further one.
        causal: by the name of a term, a ``Causal``, by which early times count first.

    Called with points it is the network. ``loss(points)`` takes points by the names of terms, (batch, coordinates), or
    a tuple of them and further arrays; of a single term also alone. It gives the loss, and each term's mean square.
    ``residual(name, points)`` gives those of one term, (batch,), or (batch, equations). Train it by ``px.fit(pinn,
    [points], loss=px.science.physics_loss, …)``, ``px.science.minimise``, or your own loop.

    Raises:
        RangeError: names or numbers that there are not.
        ShapeError: points that do not fit a term, or a residual without a number for each point.

    Source: Raissi, Perdikaris and Karniadakis, "Physics-informed neural networks", 2019; Wang, Sankaran, Wang and
    Perdikaris, "An expert's guide to training physics-informed neural networks", 2023, for the weights.

    >>> import jax.numpy as jnp, phlox as px
    >>> def heat(u, x, t):
    ...     return u.d("t") - u.d("xx")
    >>> pinn = px.science.PINN(px.Dense(2, 1), {"equation": heat, "start": lambda u, x, t: u - jnp.sin(x)})
    >>> box = px.science.Box(x=(0, 1), t=(0, 1))
    >>> loss, parts = pinn.loss({"equation": box.sobol(64), "start": box.at(t=0).sobol(16)})
    >>> list(parts), loss.shape
    (['equation', 'start'], ())
    """

    network: Callable[..., Any]
    terms: dict[str, Callable[..., Any]]
    weights: State  # (terms,)
    steps: State  # () of training so far
    balance: str | None
    every: int
    momentum: float
    causal: dict[str, Causal]

    def __init__(
        self,
        network: Callable[..., Any],
        terms: Mapping[str, Callable[..., Any]] | Callable[..., Any],
        *,
        weights: Mapping[str, float] | None = None,
        balance: str | None = None,
        every: int = 100,
        momentum: float = 0.9,
        causal: Mapping[str, Causal] | None = None,
    ):
        given = dict(terms) if isinstance(terms, Mapping) else {_ONE: terms}
        self.network = check_function("PINN", "network", network, "as network(points)")
        self.terms = {name: check_function("PINN", name, term, "as term(u, x, t)") for name, term in given.items()}
        for what, names in (("weights", weights or {}), ("causal", causal or {})):
            _check_names(what, names, self.terms)
        if balance is not None and balance not in _BALANCES:
            names = ", ".join(map(repr, (None, *_BALANCES)))
            raise RangeError(f"balance as one of {names}", got=repr(balance), fix="choose one of them", where="PINN")
        if not 0 <= momentum < 1:
            fix = "give a share, such as 0.9"
            raise RangeError("momentum of at least 0 and below 1", got=repr(momentum), fix=fix, where="PINN")
        numbers = [(weights or {}).get(name, 1.0) for name in self.terms]
        if any(not 0 <= w < math.inf for w in numbers):
            raise RangeError("weights of 0 or more", got=repr(weights), fix="leave out their signs", where="PINN")
        self.weights = jnp.array(numbers, param_dtype())
        self.steps = jnp.zeros((), jnp.int32)
        self.balance, self.every, self.momentum = balance, check_size("PINN", "every", every), float(momentum)
        self.causal = dict(causal or {})

    def __call__(self, points: Any) -> Any:
        return self.network(points)

    def loss(self, points: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss, and by name the mean square of each term, and the least factor of those that are causal."""
        points = self.points_by_name(points)
        if self.balance is not None and self.training:
            self._move_weights(points)
        means, told = self.means(points)
        return jnp.sum(self.weights.astype(means.dtype) * means), told

    def residual(self, name: str, points: Any) -> jax.Array:
        """What is left of a term at points: (batch,), or (batch, equations)."""
        found = self.left(name, points).equations
        return found[0] if len(found) == 1 else jnp.stack(found, -1)

    def means(self, points: Mapping[str, Any]) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The mean square of each term, with causal factors, (terms,); and what the history tells of them."""
        means: list[jax.Array] = []
        told: dict[str, jax.Array] = {}
        for name in self.terms:
            left = self.left(name, points[name])
            means.append(jnp.mean(left.factors * left.square))
            told[name] = means[-1]
            if left.least is not None:
                told[f"{name}_causal"] = left.least
        return jnp.stack(means), told

    def points_by_name(self, points: Any) -> Mapping[str, Any]:
        """Points for every term, as ``loss`` takes them.

        Raises:
            RangeError: a term without points, or points without a term.
        """
        if not isinstance(points, Mapping):
            if len(self.terms) > 1:
                fix = f"pass {{{', '.join(f'{name!r}: points' for name in self.terms)}}}"
                raise RangeError("a dict of points by the names of terms", got=describe(points), fix=fix, where="PINN")
            return {next(iter(self.terms)): points}
        if set(points) != set(self.terms):
            got, fix = ", ".join(map(str, points)), "give each term points, and no others"
            raise RangeError(f"points for {', '.join(self.terms)}", got=got, fix=fix, where="PINN")
        return points

    def left(self, name: str, given: Any) -> Left:
        """What is left of a term at points, with how much each of them counts."""
        if name not in self.terms:
            fix = "name one of them"
            raise RangeError(f"a term of {', '.join(self.terms)}", got=repr(name), fix=fix, where="PINN")
        where = f"PINN term {name!r}"
        points, *further = given if isinstance(given, (tuple, list)) else [given]
        points = checked_points(points, where)
        term = self.terms[name]
        coordinates = _coordinates(term, points.shape[1], len(further), where)

        def asked(field: Field, points: jax.Array) -> Any:
            return term(field, *(points[:, n] for n in range(points.shape[1])), *further)

        found = with_derivatives(asked, as_module(self.network), points, coordinates)
        equations = _equations(found, points.shape[0], where)
        causal = self.causal.get(name)
        if causal is None:
            return Left(equations, jnp.ones((), equations[0].dtype))
        if causal.coordinate not in coordinates:
            expected = f"a coordinate for causal weights, one of {', '.join(coordinates)}"
            raise RangeError(expected, got=repr(causal.coordinate), fix="name the time", where=where)
        time, square = points[:, coordinates.index(causal.coordinate)], _squares(equations)
        return Left(equations, causal.factors(time, square), causal.least(time, square))

    def _move_weights(self, points: Mapping[str, Any]) -> None:
        """Balance the weights, where it is time to."""
        first = self.steps == 0

        def moved(weights: jax.Array) -> jax.Array:
            vector, restore = destructure(self)
            size = _BALANCES[self.balance](restore, jax.lax.stop_gradient(vector), points)
            kept = jnp.where(first, 0, self.momentum).astype(weights.dtype)
            return kept * weights + (1 - kept) * balanced(size).astype(weights.dtype)

        self.weights = cond(self.steps % self.every == 0, moved, lambda weights: weights, self.weights)
        self.steps = self.steps + 1

    def _brief(self) -> str:
        return f"PINN({named(self.network)}, {', '.join(self.terms)})"


def physics_loss(model: PINN, points: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of a ``PINN`` for ``px.fit``: ``px.fit(pinn, [points], loss=px.science.physics_loss, …)``.

    Arguments:
        model: the ``PINN``.
        points: as ``PINN.loss`` takes them.

    Returns:
        The loss (), and the mean square of each term by name.

    >>> import jax.numpy as jnp, phlox as px
    >>> pinn = px.science.PINN(lambda p: p[:, 0] ** 2, lambda u, x: u.d("x"))
    >>> float(px.science.physics_loss(pinn, jnp.array([[1.0], [2.0]]))[0])
    10.0
    """
    return model.loss(points)


def _equations(found: Any, batch: int, where: str) -> list[jax.Array]:
    """What a term gave, (batch,) for each of its equations.

    Raises:
        ShapeError: something else, such as the (batch, batch) that (batch, 1) beside (batch,) makes.
    """
    parts = found if isinstance(found, (tuple, list)) else [found]
    arrays = [part.value if isinstance(part, Field) else jnp.asarray(part) for part in parts]
    for array in arrays:
        if array.shape != (batch,):
            fix = "take outputs apart, as in u, v = field, and give further arrays as (batch,)"
            raise ShapeError(f"a residual of ({batch},)", got=describe(array), fix=fix, where=where)
    return arrays


def _squares(equations: list[jax.Array]) -> jax.Array:
    return sum((r**2 for r in equations[1:]), equations[0] ** 2)


def _check_names(what: str, given: Mapping[str, Any], terms: Mapping[str, Any]) -> None:
    for name in given:
        if name not in terms:
            fix = "name a term"
            raise RangeError(f"{what} by the names {', '.join(terms)}", got=repr(name), fix=fix, where="PINN")


def _coordinates(term: Callable[..., Any], columns: int, further: int, where: str) -> tuple[str, ...]:
    """The names of a term's coordinates, those of its parameters behind the field.

    Raises:
        ShapeError: another number of parameters than there are columns and further arrays.
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in inspect.signature(term).parameters.values() if p.kind in kinds and p.default is p.empty]
    if len(names) != 1 + columns + further:
        more = f", and {further} further array{'s' * (further > 1)}" if further else ""
        got = f"a function of ({', '.join(names)}), and points of {columns} column{'s' * (columns > 1)}{more}"
        fix = "write def term(u, x, t) for points (batch, 2), and a parameter more for each further array"
        raise ShapeError(
            "the field, each coordinate and each further array as parameters", got=got, fix=fix, where=where
        )
    return tuple(names[1 : 1 + columns])
