"""Counting the floating-point operations of a jaxpr, each for the layer it belongs to."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

MARK = "phlox-row-"
_ROW = re.compile(MARK + r"(\d+)")

# One operation for each element of the result.
_ELEMENTWISE = frozenset(
    ["abs", "acos", "acosh", "add", "add_any", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "clamp"]
    + ["cos", "cosh", "cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum", "digamma", "div", "erf", "erf_inv"]
    + ["erfc", "exp", "exp2", "expm1", "floor", "integer_pow", "lgamma", "log", "log1p", "logistic", "max", "min"]
    + ["mul", "neg", "nextafter", "pow", "rem", "round", "rsqrt", "sign", "sin", "sinh", "sqrt", "square", "sub"]
    + ["tan", "tanh"]
)
# One operation for each element of the operand.
_REDUCTIONS = frozenset(["argmax", "argmin", "reduce_max", "reduce_min", "reduce_prod", "reduce_sum", "scatter-add"])
# Rearrangements whose result is the operand's memory.
_VIEWS = frozenset(["reshape", "squeeze", "expand_dims"])


class Tally:
    """What was counted, by the row of the layer: operations, calls, results and the bytes they newly take."""

    def __init__(self) -> None:
        self.flops: dict[int, int] = defaultdict(int)
        self.calls: dict[int, int] = defaultdict(int)
        self.nbytes: dict[int, int] = defaultdict(int)
        self.results: dict[int, list[Any]] = defaultdict(list)
        self.open_ended = False  # a while loop, whose rounds nobody knows; its body counts once


def flops_of(jaxpr: Any) -> int:
    """The floating-point operations of a jaxpr; a multiplication with addition is two, a ``while`` goes round once."""
    return sum(count(jaxpr, Tally()).flops.values())


def count(jaxpr: Any, tally: Tally, row: int = 0, times: int = 1) -> Tally:
    """Add what a jaxpr does, ``times`` times; operations outside any layer belong to ``row``."""
    handed_on: set[int] = set()  # variables that some layer returned already, also under another shape
    for eqn in jaxpr.eqns:
        marks = _ROW.findall(str(eqn.source_info.name_stack))
        here = int(marks[-1]) if marks else row
        kind = eqn.primitive.name
        if kind == "name" and str(eqn.params["name"]).startswith(MARK):
            _note_result(eqn, tally, handed_on, times)
        elif kind in _VIEWS and id(eqn.invars[0]) in handed_on:
            handed_on.add(id(eqn.outvars[0]))
        elif kind == "cond":
            _count_longest(eqn.params["branches"], tally, here, times)
        else:
            rounds = times * eqn.params["length"] if kind == "scan" else times
            tally.open_ended |= kind == "while"
            inner = list(_inner(eqn))
            for body in inner:
                count(body, tally, here, rounds)
            if not inner:
                tally.flops[here] += times * _operations(eqn)
    return tally


def _note_result(eqn: Any, tally: Tally, handed_on: set[int], times: int) -> None:
    found = _ROW.match(str(eqn.params["name"]))
    assert found is not None
    row, result, (x,) = int(found[1]), eqn.outvars[0], eqn.invars
    if str(eqn.params["name"]).endswith("-0"):  # the first array of a result stands for the call
        tally.calls[row] += times
        tally.results[row] = []
    tally.results[row].append(x.aval)
    if id(x) not in handed_on:
        tally.nbytes[row] += times * x.aval.size * x.aval.dtype.itemsize
    handed_on.add(id(result))


def _inner(eqn: Any) -> Iterator[Any]:
    """The jaxprs that an equation runs."""
    for value in eqn.params.values():
        for part in value if isinstance(value, (list, tuple)) else (value,):
            if hasattr(part, "eqns"):
                yield part
            elif hasattr(part, "jaxpr"):
                yield part.jaxpr


def _count_longest(branches: Any, tally: Tally, row: int, times: int) -> None:
    """Of a conditional the branch with most operations counts."""
    tried = [count(b.jaxpr, Tally(), row, times) for b in branches]
    longest = max(tried, key=lambda t: sum(t.flops.values()))
    for mine, theirs in ((tally.flops, longest.flops), (tally.calls, longest.calls), (tally.nbytes, longest.nbytes)):
        for at, n in theirs.items():
            mine[at] += n
    tally.results.update(longest.results)
    tally.open_ended |= longest.open_ended


def _operations(eqn: Any) -> int:
    """Floating-point operations of one equation without inner jaxprs; a multiplication with addition is two."""
    kind, out = eqn.primitive.name, eqn.outvars[0].aval
    shape, operand = getattr(out, "shape", ()), eqn.invars[0].aval if eqn.invars else out
    if not jnp.issubdtype(getattr(operand, "dtype", jnp.dtype(bool)), jnp.inexact):
        return 0
    if kind == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return 2 * math.prod(shape) * math.prod(operand.shape[a] for a in contracted)
    if kind == "conv_general_dilated":
        weight, numbers = eqn.invars[1].aval, eqn.params["dimension_numbers"]
        each = math.prod(weight.shape) // weight.shape[numbers.rhs_spec[0]]  # kernel × input channels of a group
        return 2 * math.prod(shape) * each
    if kind in _ELEMENTWISE:
        return math.prod(shape)
    if kind in _REDUCTIONS:
        return math.prod(eqn.invars[-1].aval.shape if kind == "scatter-add" else operand.shape)
    if kind.startswith("reduce_window"):
        return math.prod(shape) * math.prod(eqn.params["window_dimensions"])
    return 0
