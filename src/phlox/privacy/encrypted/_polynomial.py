"""Activations as polynomials, fitted to the numbers that come into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, Param, RangeError, check_size, copy, harmonise, modules
from phlox.nn import Chain, WrappedFunction
from phlox.nn.functional import identity
from phlox.privacy._checks import check_number

_WHERE = "px.privacy.with_polynomials"
_MOST = 20_000  # numbers that a polynomial is fitted to
_GRID = 200  # points of the whole range beside them, which keep it tame where few numbers were seen
_SHARE = 0.1  # how much all of these count


class Polynomial(Module):
    r"""A polynomial for an activation, $y = \sum_k a_k t^k$ with $t = (x - c) / r$.

    Its coefficients train like any weight.

    Shapes:
        x, y: any; coefficients: (degree + 1,).

    Arguments:
        coefficients: a, from the constant on.
        center: c.
        radius: r above 0. It is meant for x within c ± r, and runs away beyond.

    Raises:
        RangeError: fewer than two coefficients, a radius that is not above 0.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.privacy.Polynomial([0.0, 0.0, 1.0])(jnp.array([-3.0, 2.0])).tolist()
    [9.0, 4.0]
    """

    coefficients: Param  # (degree + 1,)
    parameter_kinds: ClassVar = {"coefficients": ("other", 1)}  # neither matrix nor bias

    def __init__(self, coefficients: Any, *, center: float = 0.0, radius: float = 1.0):
        self.coefficients = jnp.asarray(coefficients, jnp.float32)
        if self.coefficients.ndim != 1 or self.coefficients.size < 2:
            fix = "give them from the constant on, such as [0.0, 0.0, 1.0] for a square"
            got = str(list(self.coefficients.shape))
            raise RangeError("two coefficients or more, in one axis", got=got, fix=fix, where="Polynomial")
        self.center = check_number("Polynomial", "center", center, -float("inf"), float("inf"))
        self.radius = check_number("Polynomial", "radius", radius, 0, float("inf"))

    def __call__(self, x: Any) -> jax.Array:
        x, coefficients = harmonise(self, x, self.coefficients)
        return jnp.polyval(coefficients[::-1], (x - self.center) / self.radius)

    def _brief(self) -> str:
        return f"Polynomial of degree {self.coefficients.size - 1}"


def with_polynomials(model: Module, x: Any, *, degree: int = 2, margin: float = 0.1) -> Module:
    """A copy of a model whose activations are polynomials, fitted to what comes into them for some inputs.

    Activations are the ``act`` of layers, and functions of single numbers in a ``px.Chain``. Each is fitted by least
    squares, one after the other, so that a later one sees what earlier ones have become. What is lost is won back by
    training the copy on.

    Arguments:
        model: the model; it infers.
        x: inputs as of a batch, the more like those to come the better.
        degree: of each polynomial; 2 takes one level of an encrypted number, 3 and 4 two, 5 to 8 three.
        margin: how much wider than what was seen its range is.

    Raises:
        RangeError: a degree below 2, a negative margin.

    Source: Chabanne et al., "Privacy-preserving classification on deep neural network", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense(4, 8, px.relu, key=0), px.Dense(8, 3, key=1))
    >>> px.privacy.with_polynomials(model, jnp.ones((16, 4))).layers[0].act.coefficients.shape
    (3,)
    """
    check_size(_WHERE, "degree", degree, least=2)
    check_number(_WHERE, "margin", margin, 0, float("inf"), at_low=True)
    made = copy(model)
    places = _activations(made)
    for place in places:
        place.put(_Fitting(place.function, degree, margin))
    made(x)
    for place in places:
        place.put(place.now().found or place.function)
    return made


class _Place:
    """Where an activation stands: an attribute of a layer, or an entry of a chain."""

    def __init__(self, holder: Any, key: Any):
        self.holder, self.key = holder, key
        entry = self.now()
        self.function: Callable[..., Any] = entry.function if isinstance(entry, WrappedFunction) else entry

    def now(self) -> Any:
        return getattr(self.holder, self.key) if isinstance(self.holder, Module) else self.holder[self.key]

    def put(self, function: Any) -> None:
        if isinstance(self.holder, Module):
            setattr(self.holder, self.key, function)
        else:
            self.holder[self.key] = function


def _activations(model: Module) -> list[_Place]:
    found = []
    for layer in modules(model).values():
        act = getattr(layer, "act", None)
        if callable(act) and act is not identity and not isinstance(act, Module):
            found.append(_Place(layer, "act"))
        if isinstance(layer, Chain):
            entries: Any = layer.layers
            keys = list(entries) if isinstance(entries, dict) else range(len(entries))
            found += [_Place(entries, k) for k in keys if _is_function(entries[k])]
    return found


def _is_function(entry: Any) -> bool:
    return isinstance(entry, WrappedFunction) or (not isinstance(entry, Module) and entry is not identity)


class _Fitting:
    """An activation that is fitted to what comes, the first time something does."""

    def __init__(self, function: Callable[..., Any], degree: int, margin: float):
        self.function, self.degree, self.margin = function, degree, margin
        self.found: Polynomial | None = None

    def __call__(self, x: Any) -> Any:
        if self.found is None and _of_single_numbers(self.function, x):
            self.found = fit_polynomial(self.function, np.asarray(x), self.degree, self.margin)
        return self.function(x) if self.found is None else self.found(x)


def _of_single_numbers(function: Callable[..., Any], x: Any) -> bool:
    """Whether a function changes each number by itself, and does not only move or scale it."""
    y = function(x)
    if jnp.shape(y) != jnp.shape(x) or not jnp.allclose(function(x.reshape(-1)), y.reshape(-1), atol=1e-5):
        return False
    line = np.polynomial.Polynomial.fit(np.ravel(x), np.ravel(y), 1) if np.ptp(x) > 0 else None
    return line is None or not np.allclose(line(np.ravel(x)), np.ravel(y), rtol=1e-4, atol=1e-5)


def fit_polynomial(
    function: Callable[..., Any], values: np.ndarray[Any, Any], degree: int, margin: float
) -> Polynomial:
    """The polynomial nearest to a function on some numbers, by least squares over these and a grid on their range."""
    low, high = float(values.min()), float(values.max())
    center, radius = (low + high) / 2, max((high - low) / 2 * (1 + margin), 1e-3)
    seen = np.sort(values.ravel())[:: max(1, values.size // _MOST)]
    t = np.concatenate([(seen - center) / radius, np.linspace(-1, 1, _GRID)])
    weight = np.concatenate([np.full(len(seen), 1 / len(seen)), np.full(_GRID, _SHARE / _GRID)])
    y = np.asarray(function(jnp.asarray(center + radius * t, jnp.float32)), np.float64)
    fitted = np.polynomial.chebyshev.chebfit(t, y, degree, w=np.sqrt(weight))
    return Polynomial(np.polynomial.chebyshev.cheb2poly(fitted), center=center, radius=radius)
