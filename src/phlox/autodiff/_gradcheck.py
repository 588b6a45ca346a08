"""px.gradcheck, px.gradgradcheck: gradients beside slopes that are measured without them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from phlox.autodiff._arguments import input_names, prefixes_of
from phlox.autodiff._program import traced
from phlox.core import (
    Differentiated,
    DtypeError,
    PhloxError,
    RangeError,
    carried,
    describe,
    functionalize,
    numbers_as_arrays,
)

# Of each step, two differences are combined so that their error is of the fourth order. The large one is the most
# precise where a function is smooth, the small ones where it has kinks nearby.
_STEPS = (2e-3, 1e-4, 5e-6)
_TINY = 1e-30  # of a complex step, in which nothing is subtracted

# Operations that mean the same on complex numbers, and are differentiable there. A convolution is not among them: XLA
# takes complex ones as three real ones, in whose sums a tiny imaginary part is lost.
_ANALYTIC = frozenset(
    ["add", "add_any", "sub", "mul", "div", "neg", "integer_pow", "square", "sqrt", "rsqrt", "exp", "expm1", "log"]
    + ["log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh", "logistic", "pow", "dot_general", "reduce_sum", "cumsum"]
    + ["reshape", "squeeze", "expand_dims", "transpose", "broadcast_in_dim", "rev", "slice"]
    + ["pad", "concatenate", "split", "stack", "convert_element_type", "copy", "iota"]
)


class GradientError(PhloxError, ArithmeticError):
    """A gradient that is not the slope of its function."""


@dataclass(frozen=True)
class GradientCheck:
    """What a check found where gradients and slopes agree."""

    directions: int
    """Random directions that were tried."""
    error: float
    """The largest difference of a slope, relative to the larger of the two."""
    method: str
    """"complex step", or "differences"."""


def gradcheck(
    fn: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    directions: int = 3,
    seed: int = 0,
) -> GradientCheck:
    r"""Compare the gradient of ``fn`` with its slope, $g^T d = \partial_t f(x + t d)$ at $t = 0$.

    First along random directions; where one disagrees, each element is tried and the worst is named. The slope is the
    imaginary part of $f(x + i h d) / h$ where all of ``fn``'s operations are analytic, else it comes from differences
    $(f(x + h d) - f(x - h d)) / 2h$ at three steps, of which the best counts. Of a result that is no scalar, the sum
    with random weights is taken.

    Arguments:
        fn: returns a tree of floating arrays; Modules among its arguments train. It is not run for its effects.
        args: what it is called with, in float64.
        argnums: which arguments to differentiate, by position.
        rtol, atol: allowed is a difference of rtol · max(∣g·d∣, ∣slope∣) + atol · max(1, ∣f∣).
        directions: how many random directions, 1 or more.
        seed: of directions and weights.

    Raises:
        GradientError: they disagree; names the path, the element and both numbers.
        DtypeError: arguments that are differentiated in another dtype, in which differences tell too little.
        RangeError: directions below 1.

    Source: Martins, Sturdza and Alonso, "The complex-step derivative approximation", 2003.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> with jax.enable_x64(True):
    ...     px.gradcheck(lambda x: jnp.sin(x) * x, jnp.linspace(0.0, 1.0, 5)).method
    'complex step'
    """
    return _check(_Function(fn, args, argnums, seed, "px.gradcheck"), rtol, atol, directions, seed)


def gradgradcheck(
    fn: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    directions: int = 3,
    seed: int = 0,
) -> GradientCheck:
    """Compare second derivatives with slopes: ``gradcheck`` of the gradient of ``fn`` along a random direction.

    Arguments, errors and result are those of ``gradcheck``.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> with jax.enable_x64(True):
    ...     px.gradgradcheck(lambda x: jnp.exp(x) * x, jnp.linspace(0.0, 1.0, 5)).error < 1e-9
    True
    """
    first = _Function(fn, args, argnums, seed, "px.gradgradcheck")
    return _check(first.gradient_along(np.random.default_rng([seed, 2])), rtol, atol, directions, seed)


class _Function:
    """A function as a real one of one vector, which holds every number of the differentiated arguments."""

    value: Callable[[Any], Any]
    """Vector → scalar; of a complex vector the analytic continuation, where there is one."""

    def __init__(self, fn: Callable[..., Any], args: Sequence[Any], argnums: Any, seed: int, label: str):
        inner, first, named = carried(fn)
        args = numbers_as_arrays(args, argnums)
        self.label = label
        call = functionalize(inner, (*first, *args), named, kind="grad", label=label.removeprefix("px."))
        wrt = Differentiated(call, args, argnums, first=first)
        names = input_names(call, prefixes_of(call))
        places = [*wrt.leaves, *(len(call.leaves) + i for i in wrt.bare)]
        self.arrays = list(map(jnp.asarray, (*wrt.values[0], *wrt.values[1])))
        self.paths = [names[i] for i in places]
        self._refuse_narrow()
        parts = [(jnp.real(v), jnp.imag(v)) if jnp.iscomplexobj(v) else v for v in self.arrays]
        self.at, unravel = ravel_pytree(parts)

        def value(x: Any) -> Any:
            pieces = _split(x, parts) if jnp.iscomplexobj(x) else unravel(x)
            whole = [lax.complex(*p) if isinstance(p, tuple) else p for p in pieces]
            count = len(wrt.leaves)
            outcome = call.pure(*wrt.merge((whole[:count], whole[count:])))
            return _weighted(outcome.outputs, seed, continued=jnp.iscomplexobj(x))

        self.value = value

    def gradient_along(self, rng: np.random.Generator) -> _Function:
        """The slope along a random direction, as a function."""
        along, value = jnp.asarray(rng.normal(size=self.at.shape)), self.value
        found = object.__new__(_Function)
        found.label, found.arrays, found.paths, found.at = self.label, self.arrays, self.paths, self.at
        found.value = lambda x: jnp.sum(jax.grad(value, holomorphic=jnp.iscomplexobj(x))(x) * along)
        return found

    def element(self, n: int) -> str:
        """The path of a number of the vector, and where it stands in its array."""
        for path, v in zip(self.paths, self.arrays, strict=True):
            for part in (".real", ".imag") if jnp.iscomplexobj(v) else ("",):
                if n < v.size:
                    index = ", ".join(map(str, np.unravel_index(n, v.shape)))
                    return f"{path}[{index}]{part}" if v.shape else f"{path}{part}"
                n -= v.size
        raise AssertionError(n)

    def _refuse_narrow(self) -> None:
        for path, v in zip(self.paths, self.arrays, strict=True):
            if v.dtype not in (jnp.float64, jnp.complex128):
                raise DtypeError(
                    "float64, in which differences tell enough digits",
                    got=f"{path}, {describe(v)}",
                    fix="with jax.enable_x64(True): px.gradcheck(fn, px.f64(model), …)",
                    where=self.label,
                )


def _split(x: Any, parts: Sequence[Any]) -> list[Any]:
    """A complex vector as arrays of the shapes of real ones; there is no continuation of those that were complex."""
    if any(isinstance(p, tuple) for p in parts):
        raise TypeError("complex already")
    ends = np.cumsum([p.size for p in parts])[:-1]
    return [piece.reshape(p.shape) for piece, p in zip(jnp.split(x, ends), parts, strict=True)]


def _weighted(outputs: Sequence[Any], seed: int, *, continued: bool) -> Any:
    """The sum of all floats, each with a weight of its own; both parts of complex ones count, if not ``continued``."""
    total = jnp.zeros(())
    for i, y in enumerate(map(jnp.asarray, outputs)):
        rng = np.random.default_rng([seed, i])
        if jnp.issubdtype(y.dtype, jnp.inexact):
            total = total + jnp.sum(y * (0.5 + rng.uniform(size=y.shape)))
        if jnp.iscomplexobj(y) and not continued:
            total = jnp.real(total) + jnp.sum(jnp.imag(y) * (0.5 + rng.uniform(size=y.shape)))
    return total


def _check(function: _Function, rtol: float, atol: float, directions: int, seed: int) -> GradientCheck:
    if directions < 1:
        raise RangeError("one direction or more", got=str(directions), fix="leave directions out", where=function.label)
    x = function.at
    measured, method = _measured(function)
    real = lambda x: jnp.real(function.value(x))  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(real))(x)
    room = atol * max(1.0, abs(float(value)))
    rng, worst = np.random.default_rng([seed, 1]), 0.0
    for _ in range(directions):
        d = jnp.asarray(rng.normal(size=x.shape))
        ours, slope = float(jnp.sum(gradient * d)), _nearest(measured(x, d), float(jnp.sum(gradient * d)))
        if not abs(ours - slope) <= rtol * max(abs(ours), abs(slope)) + room:
            raise _disagreement(function, gradient, measured, rtol, room)
        worst = max(worst, abs(ours - slope) / max(abs(ours), abs(slope), room))
    return GradientCheck(directions, worst, method)


def _measured(function: _Function) -> tuple[Callable[[Any, Any], Any], str]:
    """``measured(x, d)`` gives slopes along d, one or for each step, and how they are taken."""
    continued = _continued(function)
    if continued is not None:
        return jax.jit(lambda x, d: jnp.imag(continued(x + 1j * _TINY * d))[None] / _TINY), "complex step"
    steps = np.asarray(_STEPS)
    offsets = (steps[:, None] * np.array([1, -1, 0.5, -0.5])).reshape(-1)

    def slopes(x: Any, d: Any) -> Any:
        whole = lax.map(lambda t: jnp.real(function.value(x + t * d)), jnp.asarray(offsets)).reshape(-1, 4)
        return (8 * (whole[:, 2] - whole[:, 3]) - (whole[:, 0] - whole[:, 1])) / (6 * steps)

    return jax.jit(slopes), "differences"


def _continued(function: _Function) -> Callable[[Any], Any] | None:
    """The function on complex vectors, where every operation that it does to them is analytic; else None."""
    if any(line.kind not in _ANALYTIC for line in traced(function.value, function.at).lines):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of complex numbers where real ones stood
            program = traced(function.value, function.at.astype(jnp.complex128))
    except (TypeError, ValueError, NotImplementedError, PhloxError):
        return None
    for line in program.lines:
        reads, makes = ([_is_complex(program.types[n]) for n in part] for part in (line.reads, line.makes))
        if line.kind not in _ANALYTIC or (any(reads) and not all(makes)):
            return None
    (result,) = program.outputs
    return (lambda x: program.run([x])[result]) if _is_complex(program.types[result]) else None


def _is_complex(type_: Any) -> bool:
    return jnp.issubdtype(type_.dtype, jnp.complexfloating)


def _nearest(slopes: Any, to: float) -> float:
    found = np.asarray(slopes)
    return float(found[np.argmin(np.where(np.isnan(found), np.inf, np.abs(found - to)))])


def _disagreement(
    function: _Function, gradient: Any, measured: Callable[[Any, Any], Any], rtol: float, room: float
) -> GradientError:
    """The error that names the worst element."""
    x = function.at
    slopes = jax.jit(lambda x: lax.map(lambda n: measured(x, jnp.zeros_like(x).at[n].set(1)), jnp.arange(x.size)))(x)
    ours = np.asarray(gradient)
    nearest = np.array([_nearest(s, g) for s, g in zip(np.asarray(slopes), ours, strict=True)])
    excess = np.abs(ours - nearest) / (rtol * np.maximum(np.abs(ours), np.abs(nearest)) + room)
    n = int(np.argmax(np.where(np.isnan(excess), np.inf, excess)))
    return GradientError(
        f"the slope of the function, {nearest[n]:.10g} at {function.element(n)}",
        got=f"a gradient of {ours[n]:.10g} there, the worst of {int(np.sum(~(excess <= 1)))} that differ",
        fix="look at the rules that the function brings along (custom_vjp, stop_gradient), or move off a kink",
        where=function.label,
    )
