"""A program traced again, some of its operations by rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from phlox.core import layer_of, scope_of
from phlox.core._compat import Literal, run_equation, scan_counts

Run = Callable[[Any, Sequence[Any]], list[Any]]
"""The results of a program within an operation, for its arguments."""


@dataclass(frozen=True)
class Rule:
    """What stands in place of an operation.

    Arguments:
        write: ``write(equation, values, run)`` gives the results of the operation.
        asked: ``asked(equation)`` tells whether this one is written so.
    """

    write: Callable[[Any, list[Any], Run], list[Any]]
    asked: Callable[[Any], bool] = lambda equation: True


Tables = Sequence[Mapping[str, Rule]]


def retraced(
    closed: Any, tables: Tables, known: Callable[[Any], Any] = lambda x: x
) -> Callable[[Sequence[Any]], list[Any]]:
    """A program as a function of its arguments, which runs what has a rule by that, and all else as it is.

    Arguments:
        closed: the program.
        tables: rules by the names of operations; the first that asks for one writes it.
        known: what is done first to arguments and constants.

    >>> rules = {"sin": Rule(lambda equation, values, run: [2 * values[0]])}
    >>> function = retraced(jax.make_jaxpr(lambda x: jax.numpy.sin(x) + 1)(3.0), [rules])
    >>> float(function([3.0])[0])
    7.0
    """

    def run(program: Any, values: Sequence[Any]) -> list[Any]:
        jaxpr, consts = (program.jaxpr, program.consts) if hasattr(program, "consts") else (program, ())
        held: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*map(known, consts), *values], strict=True))
        read = lambda v: known(v.val) if isinstance(v, Literal) else held[v]  # noqa: E731
        for equation in jaxpr.eqns:
            given = [read(v) for v in equation.invars]
            rule = _rule(equation, tables)
            with scope_of(layer_of(equation) if rule else ""):
                found = rule.write(equation, given, run) if rule else run_equation(jaxpr, equation, given)
            held.update(zip(equation.outvars, found, strict=True))
        return [read(v) for v in jaxpr.outvars]

    return lambda values: run(closed, [*map(known, values)])


def programs_in(equation: Any) -> list[Any]:
    """The programs within an operation."""
    leaves = jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns"))
    return [getattr(v, "jaxpr", v) for v in leaves if hasattr(v, "eqns")]


def _rule(equation: Any, tables: Tables) -> Rule | None:
    """The rule of an operation; a call is taken apart, and so is a loop or a branch that has operations with rules."""
    name = equation.primitive.name
    if name in _CALLS:
        return _CALLED
    parts = _PARTS.get(name)
    for table in tables:
        rule = table.get(name)
        if rule is not None and rule.asked(equation):
            return rule
    if parts and any(_rule(inner, tables) for jaxpr in programs_in(equation) for inner in jaxpr.eqns):
        return parts
    return None


def _called(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """What calls one program, or one that comes with ways to differentiate it."""
    params = equation.params
    return run(next(params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in params), values)


def _scan(equation: Any, values: list[Any], run: Run) -> list[Any]:
    params = equation.params
    fixed, moving = scan_counts(params)
    consts, carry, xs = values[:fixed], values[fixed : fixed + moving], values[fixed + moving :]

    def step(carry: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
        found = run(params["jaxpr"], [*consts, *carry, *row])
        return found[:moving], found[moving:]

    last, kept = jax.lax.scan(step, list(carry), list(xs), params["length"], reverse=params["reverse"])
    return [*last, *kept]


def _cond(equation: Any, values: list[Any], run: Run) -> list[Any]:
    branches = [lambda *xs, b=b: run(b, xs) for b in equation.params["branches"]]
    return list(jax.lax.switch(values[0], branches, *values[1:]))


def _while(equation: Any, values: list[Any], run: Run) -> list[Any]:
    test, body = equation.params["cond_jaxpr"], equation.params["body_jaxpr"]
    a = equation.params["cond_nconsts"]
    b = a + equation.params["body_nconsts"]
    return list(
        jax.lax.while_loop(
            lambda carry: run(test, [*values[:a], *carry])[0],
            lambda carry: run(body, [*values[a:b], *carry]),
            list(values[b:]),
        )
    )


_CALLS = frozenset((
    "checkpoint", "closed_call", "composite", "core_call", "custom_jvp_call", "custom_lin", "custom_vjp_call",
    "custom_vjp_call_jaxpr", "custom_vmap_call", "jit", "pjit", "remat", "remat2",
))  # fmt: skip
_CALLED = Rule(_called)
_PARTS = {"scan": Rule(_scan), "cond": Rule(_cond), "while": Rule(_while)}
TAKEN_APART = _CALLS | frozenset(_PARTS)
"""Operations whose programs are looked into."""
