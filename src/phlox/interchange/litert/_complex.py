"""Complex arrays as two real ones: LiteRT has hardly an operation on them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from phlox.core import ExportError
from phlox.core._compat import Tracer
from phlox.interchange._scopes import operations
from phlox.interchange.litert._refused import COMPLEX
from phlox.interchange.litert._retrace import TAKEN_APART, Rule, Run


class Pair(NamedTuple):
    """A complex array."""

    re: Any
    im: Any


def paired(x: Any) -> Any:
    """An array as a pair where it is complex; the numbers of one that is known are taken apart here."""
    if not jnp.issubdtype(jnp.result_type(x), jnp.complexfloating):
        return x
    if isinstance(x, Tracer):
        return Pair(jnp.real(x), jnp.imag(x))
    return Pair(np.real(np.asarray(x)), np.imag(np.asarray(x)))


def is_complex(equation: Any) -> bool:
    """Whether an operation has to do with complex arrays."""
    return any(_is_complex(v.aval) for v in [*equation.invars, *equation.outvars])


def refuse_complex(closed: Any, where: str) -> None:
    """Refuse a program that takes or gives complex arrays, or has operations on them without a rule.

    Raises:
        ExportError: it does; says in which layer.
    """
    for side, avals in (("inputs", closed.in_avals), ("outputs", closed.out_avals)):
        if any(map(_is_complex, avals)):
            raise ExportError(f"{side} of real numbers", got=COMPLEX[0], fix=COMPLEX[1], where=where)
    for operation in operations(closed.jaxpr):
        if is_complex(operation.equation) and not _has_form(operation.equation):
            got = f"{operation.name} at {operation.layer or 'the model itself'}, {COMPLEX[0]}"
            raise ExportError("operations that LiteRT has", got=got, fix=COMPLEX[1], where=where)


def _is_complex(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.complexfloating)


def _has_form(equation: Any) -> bool:
    name = equation.primitive.name
    if name == "fft":  # of real numbers
        return not _is_complex(equation.invars[0].aval) and (_is_operator(equation) or _lengths(equation).size == 1)
    return name in RULES or name in TAKEN_APART


def _by_parts(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """What does the same to both parts: sums, and all that moves numbers."""
    bind = lambda k: equation.primitive.bind(*(v[k] if isinstance(v, Pair) else v for v in values), **equation.params)  # noqa: E731
    real, imaginary = bind(0), bind(1)
    if not equation.primitive.multiple_results:
        return [Pair(real, imaginary)]
    return [Pair(*each) for each in zip(real, imaginary, strict=True)]


def _mul(equation: Any, values: list[Any], run: Run) -> list[Any]:
    return [_times(*values)]


def _times(x: Pair, y: Pair) -> Pair:
    return Pair(x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re)


def _div(equation: Any, values: list[Any], run: Run) -> list[Any]:
    return [_times(values[0], _inverse(values[1]))]


def _inverse(x: Pair) -> Pair:
    size = x.re * x.re + x.im * x.im
    return Pair(x.re / size, -x.im / size)


def _integer_pow(equation: Any, values: list[Any], run: Run) -> list[Any]:
    x, power = values[0], equation.params["y"]
    found = Pair(jnp.ones_like(x.re), jnp.zeros_like(x.re))
    for _ in range(abs(power)):
        found = _times(found, x)
    return [_inverse(found) if power < 0 else found]


def _dot(equation: Any, values: list[Any], run: Run) -> list[Any]:
    x, y = values
    params = {**equation.params, "preferred_element_type": None}
    dot = lambda a, b: equation.primitive.bind(a, b, **params)  # noqa: E731
    return [Pair(dot(x.re, y.re) - dot(x.im, y.im), dot(x.re, y.im) + dot(x.im, y.re))]


def _exp(equation: Any, values: list[Any], run: Run) -> list[Any]:
    size = jnp.exp(values[0].re)
    return [Pair(size * jnp.cos(values[0].im), size * jnp.sin(values[0].im))]


def _convert(equation: Any, values: list[Any], run: Run) -> list[Any]:
    x, dtype = values[0], equation.params["new_dtype"]
    if not jnp.issubdtype(dtype, jnp.complexfloating):
        return [x.re.astype(dtype)]
    real = jnp.finfo(dtype).dtype
    if isinstance(x, Pair):
        return [Pair(x.re.astype(real), x.im.astype(real))]
    return [Pair(jnp.asarray(x, real), jnp.zeros_like(x, real))]


def _fft(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """The runtime's operator, whose result can be taken apart; of other lengths as products with waves."""
    if _is_operator(equation):
        return [paired(equation.primitive.bind(values[0], **equation.params))]
    x, (n,) = values[0], _lengths(equation)
    turns = np.outer(np.arange(n), np.arange(n // 2 + 1)) % n * (2 * np.pi / n)
    return [Pair(x @ jnp.asarray(np.cos(turns), x.dtype), x @ jnp.asarray(-np.sin(turns), x.dtype))]


def _lengths(equation: Any) -> np.ndarray:
    return np.asarray(equation.params["fft_lengths"])


def _is_operator(equation: Any) -> bool:
    """Whether all lengths are powers of two."""
    lengths = _lengths(equation)
    return not (lengths & (lengths - 1)).any()


_MOVED = (
    "add", "add_any", "broadcast_in_dim", "concatenate", "copy", "copy_p", "cumsum", "dynamic_slice",
    "dynamic_update_slice", "expand_dims", "gather", "neg", "pad", "reduce_sum", "reshape", "rev", "select_n", "slice",
    "split", "squeeze", "stack", "stop_gradient", "sub", "tile", "transpose", "unstack",
)  # fmt: skip

RULES: dict[str, Rule] = {
    **{name: Rule(_by_parts, is_complex) for name in _MOVED},
    "complex": Rule(lambda equation, values, run: [Pair(*values)]),
    "real": Rule(lambda equation, values, run: [values[0].re]),
    "imag": Rule(lambda equation, values, run: [values[0].im]),
    "conj": Rule(lambda equation, values, run: [Pair(values[0].re, -values[0].im)], is_complex),
    "abs": Rule(lambda equation, values, run: [jnp.sqrt(values[0].re ** 2 + values[0].im ** 2)], is_complex),
    "mul": Rule(_mul, is_complex),
    "square": Rule(lambda equation, values, run: [_times(values[0], values[0])], is_complex),
    "div": Rule(_div, is_complex),
    "integer_pow": Rule(_integer_pow, is_complex),
    "dot_general": Rule(_dot, is_complex),
    "exp": Rule(_exp, is_complex),
    "convert_element_type": Rule(_convert, is_complex),
    "fft": Rule(_fft),
}
