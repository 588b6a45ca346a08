"""Derivatives of many orders at once: a program run on truncated Taylor polynomials in place of numbers.

A polynomial in the coordinates is a dict from an index, how often by each coordinate, to the array of its coefficient;
what it leaves out is zero. Of a program that knows its derivatives to be wanted, every stream is computed once, where
derivatives taken one by one compute what they share again, and again on the way back.

Source: Griewank and Walther, "Evaluating derivatives", 2008, chapter 13.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp

from phlox.autodiff import ELEMENTWISE, STOPS, Flat, Line, flat
from phlox.nn import reference_forms

Index = tuple[int, ...]
Polynomial = dict[Index, Any]

# Linear in all floating operands together: each coefficient goes through alone.
_LINEAR = frozenset(
    ["add", "add_any", "sub", "neg", "convert_element_type", "copy", "copy_p", "real", "imag", "name"]
    + ["reshape", "squeeze", "expand_dims", "transpose", "broadcast_in_dim", "rev", "slice", "dynamic_slice", "gather"]
    + ["dynamic_update_slice", "concatenate", "split", "stack", "unstack", "pad", "tile", "reduce_sum", "cumsum"]
    + ["select_n", "optimization_barrier"]
)
_BILINEAR = frozenset(["mul", "dot_general", "conv_general_dilated"])

# Functions whose slope is a polynomial of their value: its coefficients, from the constant on.
_SLOPES = {"tanh": (1, 0, -1), "logistic": (0, 1, -1), "exp": (0, 1)}


class _NoRuleError(Exception):
    """A line whose result has no polynomial."""


def derivatives(fn: Callable[[Any], Any], x: Any, wanted: Iterable[Index]) -> dict[Index, Any]:
    """The derivatives of these indices of a function of points (batch, coordinates), point by point.

    By polynomials in one sweep; by slopes of slopes, one index after the other, where an operation has no rule.
    """
    wanted = list(wanted)
    kept = closure(wanted)
    if len(kept) > 1:
        with reference_forms():  # a kernel cannot be read
            program = flat(jax.make_jaxpr(fn)(x))
        try:
            found = _swept(program, x, kept)
        except _NoRuleError:
            return {index: nested(fn, x, index) for index in wanted}
        zero = jnp.zeros_like(found[(0,) * x.shape[-1]])
        return {index: _factorial(index) * found[index] if index in found else zero for index in wanted}
    return {index: fn(x) for index in wanted}


def closure(wanted: Iterable[Index]) -> frozenset[Index]:
    """All indices that these are computed from: those that are nowhere larger.

    >>> sorted(closure([(2, 0), (0, 1)]))
    [(0, 0), (0, 1), (1, 0), (2, 0)]
    """
    return frozenset(below for index in wanted for below in product(*(range(n + 1) for n in index)))


def nested(fn: Callable[[Any], Any], x: Any, index: Index) -> Any:
    """One derivative as the slope of a slope of …, which JAX takes of every function that has them."""
    for axis, times in enumerate(index):
        for _ in range(times):
            fn = _slope(fn, axis)
    return fn(x)


def _slope(fn: Callable[[Any], Any], axis: int) -> Callable[[Any], Any]:
    return lambda x: jax.jvp(fn, (x,), (_along(x, axis),))[1]


def _along(x: Any, axis: int) -> Any:
    return jnp.broadcast_to(jnp.eye(x.shape[-1], dtype=x.dtype)[axis], x.shape)


def _factorial(index: Index) -> int:
    return math.prod(map(math.factorial, index))


def _swept(program: Flat, x: Any, kept: frozenset[Index]) -> Polynomial:
    """The polynomial of a program's result."""
    zero = (0,) * x.shape[-1]
    units = {axis: tuple(int(n == axis) for n in range(len(zero))) for axis in range(len(zero))}
    values: dict[int, Polynomial] = {number: {zero: c} for number, c in program.constants.items()}
    values[program.inputs[0]] = {zero: x} | {unit: _along(x, n) for n, unit in units.items() if unit in kept}
    for line in program.lines:
        made = _made(line, [values[n] for n in line.reads], kept, zero)
        values.update(zip(line.makes, made, strict=True))
    return values[program.outputs[0]]


def _made(line: Line, xs: Sequence[Polynomial], kept: frozenset[Index], zero: Index) -> list[Polynomial]:
    """The results of one line."""
    moving = [n for n, x in enumerate(xs) if len(x) > 1]
    if not moving or line.kind in STOPS or not any(map(_is_float, line.source[1].outvars)):
        return [{zero: y} for y in line.run([x[zero] for x in xs])]
    if line.kind in _LINEAR:
        return _through(line, xs, zero)
    if line.kind in _BILINEAR:
        return [_multiplied(lambda a, b: line.run([a, b])[0], xs[0], xs[1], kept)]
    if line.kind == "div":
        if moving == [0]:
            return [{index: line.run([v, xs[1][zero]])[0] for index, v in xs[0].items()}]
        inverse = _composed(_nested_slopes, lambda v: 1 / v, xs[1], kept, zero)
        return [_multiplied(jnp.multiply, xs[0], inverse, kept)]
    if len(moving) == 1 and _by_element(line):
        at = moving[0]

        def alone(v: Any) -> Any:
            return line.run([v if n == at else x[zero] for n, x in enumerate(xs)])[0]

        slopes = _slopes_of(_SLOPES[line.kind]) if line.kind in _SLOPES else _nested_slopes
        return [_composed(slopes, alone, xs[at], kept, zero)]
    raise _NoRuleError(line.kind)


def _is_float(v: Any) -> bool:
    return jnp.issubdtype(v.aval.dtype, jnp.inexact)


def _by_element(line: Line) -> bool:
    """Whether each element of the result is a function of the one in its place; with a slope of its own or without."""
    if line.kind != "custom_jvp_call":
        return line.kind in ELEMENTWISE
    shape = line.source[1].outvars[0].aval.shape
    inner = flat(line.params["call_jaxpr"], whole=True)
    plain = all(part.kind in ELEMENTWISE or part.kind in STOPS for part in inner.lines)
    return plain and len(line.makes) == 1 and all(t.shape in (shape, ()) for t in inner.types)


def _through(line: Line, xs: Sequence[Polynomial], zero: Index) -> list[Polynomial]:
    """A linear operation on one coefficient after the other: zero where there is none, and what is no float stays."""
    made: list[Polynomial] = [{} for _ in line.makes]
    floats = [_is_float(v) for v in line.source[1].invars]
    linear = line.source[1].primitive  # bound here by itself, as numbers that stand in the line become zero too
    for index in dict.fromkeys(index for x in xs for index in x):
        given = [
            x[index] if index in x else jnp.zeros_like(x[zero]) if is_float else x[zero]
            for x, is_float in zip(xs, floats, strict=True)
        ]
        found = linear.bind(*given, **line.params)
        for polynomial, y in zip(made, found if linear.multiple_results else [found], strict=True):
            polynomial[index] = y
    return made


def _multiplied(times: Callable[[Any, Any], Any], a: Polynomial, b: Polynomial, kept: frozenset[Index]) -> Polynomial:
    """The product of two polynomials, as far as it is kept."""
    found: Polynomial = {}
    for (i, u), (j, v) in product(a.items(), b.items()):
        index = tuple(map(int.__add__, i, j))
        if index in kept:
            found[index] = found[index] + times(u, v) if index in found else times(u, v)
    return found


Slopes = Callable[[Callable[[Any], Any], Any, int], list[Any]]


def _composed(
    slopes: Slopes, fn: Callable[[Any], Any], x: Polynomial, kept: frozenset[Index], zero: Index
) -> Polynomial:
    """A function of each number, of polynomials: its Taylor series at the value, by Horner's scheme in what is left."""
    order = max(map(sum, kept))
    found = slopes(fn, x[zero], order)
    rest = {index: v for index, v in x.items() if index != zero}
    y: Polynomial = {zero: found[order] / math.factorial(order)}
    for n in reversed(range(order)):
        y = _multiplied(jnp.multiply, rest, y, kept)
        y[zero] = found[n] / math.factorial(n) if n > 1 else found[n]
    return y


def _nested_slopes(fn: Callable[[Any], Any], x: Any, order: int) -> list[Any]:
    """A function of each number and its derivatives, by slopes of slopes."""
    if order == 0:
        return [fn(x)]
    lower, top = jax.jvp(lambda x: _nested_slopes(fn, x, order - 1), (x,), (jnp.ones_like(x),))
    return [*lower, top[-1]]


def _slopes_of(coefficients: Sequence[int]) -> Slopes:
    """The same for y with y' a polynomial of y: so are all that follow, as (p(y))' = p'(y) y'."""

    def slopes(fn: Callable[[Any], Any], x: Any, order: int) -> list[Any]:
        y = fn(x)
        found, p = [y], [0, 1]
        for _ in range(order):
            p = _convolved([n * c for n, c in enumerate(p)][1:], coefficients)
            found.append(_horner(p, y))
        return found

    return slopes


def _convolved(a: Sequence[int], b: Sequence[int]) -> list[int]:
    """The coefficients of a product of polynomials in one variable."""
    return [sum(a[i] * b[n - i] for i in range(len(a)) if 0 <= n - i < len(b)) for n in range(len(a) + len(b) - 1)]


def _horner(coefficients: Sequence[int], y: Any) -> Any:
    found = jnp.full_like(y, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        found = found * y + c if c else found * y
    return found
