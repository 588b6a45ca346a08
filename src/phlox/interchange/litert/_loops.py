"""Loops of known length: the rounds of a short one stand one behind the other, which a runtime fuses and plans."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core._compat import Tracer, scan_counts
from phlox.interchange.litert._retrace import Rule, Run, programs_in


def operations_of(jaxpr: Any) -> int:
    """How many operations a program has once its loops are written out.

    >>> operations_of(jax.make_jaxpr(lambda x: jax.lax.fori_loop(0, 5, lambda i, y: y * 2, x))(1.0).jaxpr)
    10
    """
    return sum(_operations(equation) for equation in jaxpr.eqns)


def _operations(equation: Any) -> int:
    inner = sum(operations_of(jaxpr) for jaxpr in programs_in(equation))
    return inner * equation.params["length"] if equation.primitive.name == "scan" else max(inner, 1)


def _scan(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """A loop, whose positions are known, over the rows of arrays that come with it."""
    params = equation.params
    fixed, moving = scan_counts(params)
    consts, carry, xs = values[:fixed], values[fixed : fixed + moving], values[fixed + moving :]
    places = list(range(params["length"]))
    kept: dict[int, list[Any]] = {}
    for i in reversed(places) if params["reverse"] else places:
        row = jax.tree.map(lambda x, i=i: _row(x, i), xs)
        found = run(params["jaxpr"], [*consts, *carry, *row])
        carry, kept[i] = found[:moving], found[moving:]
    if not places:
        return [*carry, *(jnp.zeros(v.aval.shape, v.aval.dtype) for v in equation.outvars[moving:])]
    return [*carry, *jax.tree.map(lambda *rows: jnp.stack(rows), *(kept[i] for i in places))]


def _row(x: Any, i: int) -> Any:
    """A part of an array; of one that is known the part is known, too."""
    return x[i] if isinstance(x, Tracer) else np.asarray(x)[i, ...]


def _is_short(equation: Any) -> bool:
    return _operations(equation) <= LIMIT


LIMIT = 2_000
"""Operations of a loop that is written out; beyond, the file would be long, and its conversion too."""

RULES = {"scan": Rule(_scan, _is_short)}
