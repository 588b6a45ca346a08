"""A traced program without loops of known length: their rounds stand one behind the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core._compat import Literal, run_equation
from phlox.interchange._scopes import layer_of, scope_of

Values = Sequence[Any]
Rule = Callable[[Any, list[Any]], list[Any]]


def unrolled(closed: Any) -> Callable[[Values], list[Any]]:
    """A program as a function of its arguments; traced again, it has no ``scan``.

    A map and a ``fori_loop`` over a known range are scans too. A loop whose end the data decides stays.

    >>> double = lambda x: jax.lax.fori_loop(0, 3, lambda i, y: 2 * y, x)
    >>> closed = jax.make_jaxpr(double)(1.0)
    >>> print(jax.make_jaxpr(lambda x: unrolled(closed)([x]))(1.0).jaxpr.eqns[0].primitive)
    mul
    """
    return lambda values: _run(closed.jaxpr, closed.consts, values)


def rounds(jaxpr: Any) -> int:
    """How many operations a program has once it is unrolled."""
    total = 0
    for equation in jaxpr.eqns:
        inner = sum(rounds(body) for body in _bodies(equation))
        total += inner * equation.params.get("length", 1) if equation.primitive.name == "scan" else inner or 1
    return total


def _run(jaxpr: Any, consts: Values, values: Values) -> list[Any]:
    """The results of a program for these values."""
    held: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *values], strict=True))
    read = lambda v: v.val if isinstance(v, Literal) else held[v]  # noqa: E731
    for equation in jaxpr.eqns:
        given = [read(v) for v in equation.invars]
        found = _rounds(equation, given) if _loops(equation) else run_equation(jaxpr, equation, given)
        held.update(zip(equation.outvars, found, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _rounds(equation: Any, values: list[Any]) -> list[Any]:
    """The results of a loop by its rounds, or of what holds a loop by its parts."""
    rule = _RULES.get(equation.primitive.name, _called)
    with scope_of(layer_of(equation)):
        return rule(equation, values)


def _loops(equation: Any) -> bool:
    """Whether an operation is a loop of known length, or holds one."""
    return equation.primitive.name == "scan" or any(any(map(_loops, b.eqns)) for b in _bodies(equation))


def _bodies(equation: Any) -> list[Any]:
    """The programs within an operation."""
    leaves = jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns"))
    return [getattr(v, "jaxpr", v) for v in leaves if hasattr(v, "eqns")]


def _closed(body: Any) -> tuple[Any, Values]:
    """A program and the constants that it holds."""
    return (body.jaxpr, body.consts) if hasattr(body, "consts") else (body, ())


def _called(equation: Any, values: list[Any]) -> list[Any]:
    """What calls one program, or one and the ways to differentiate it."""
    params = equation.params
    body = next(params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in params)
    return _run(*_closed(body), values)


def _scan(equation: Any, values: list[Any]) -> list[Any]:
    params = equation.params
    fixed, moving = params["num_consts"], params["num_carry"]
    consts, carry, xs = values[:fixed], values[fixed : fixed + moving], values[fixed + moving :]
    order = range(params["length"])
    kept: list[list[Any]] = []
    for i in reversed(order) if params["reverse"] else order:
        out = _run(*_closed(params["jaxpr"]), [*consts, *carry, *(x[i] for x in xs)])
        carry = out[:moving]
        kept.append(out[moving:])
    columns = list(zip(*(reversed(kept) if params["reverse"] else kept), strict=True))
    return [*carry, *map(jnp.stack, columns)]


def _cond(equation: Any, values: list[Any]) -> list[Any]:
    branches = [lambda *xs, b=b: _run(*_closed(b), xs) for b in equation.params["branches"]]
    return list(jax.lax.switch(values[0], branches, *values[1:]))


def _while(equation: Any, values: list[Any]) -> list[Any]:
    params = equation.params
    a, b = params["cond_nconsts"], params["body_nconsts"]
    asked, fixed, start = values[:a], values[a : a + b], values[a + b :]
    return list(
        jax.lax.while_loop(
            lambda carry: _run(*_closed(params["cond_jaxpr"]), [*asked, *carry])[0],
            lambda carry: _run(*_closed(params["body_jaxpr"]), [*fixed, *carry]),
            list(start),
        )
    )


_RULES: dict[str, Rule] = {"scan": _scan, "cond": _cond, "while": _while}
