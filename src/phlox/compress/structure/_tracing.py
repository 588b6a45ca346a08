"""A model's program read: which indices of which arrays go together, and which have to stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax

from phlox.compress.structure._links import Links, Value, unknown
from phlox.compress.structure._rules import RULES, held, literal
from phlox.core import Module, apply, layer_of, split, telling_layers
from phlox.core._compat import scan_counts
from phlox.nn import reference_forms

_CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Where an operation that calls another program has it."""


@dataclass(frozen=True)
class Index:
    """One index of an axis of one of a model's arrays."""

    path: str
    axis: int
    at: int


@dataclass(frozen=True)
class Structure:
    """Which indices of a model's arrays go together: those that can go, and those that have to stay, with why."""

    free: tuple[tuple[Index, ...], ...]
    held: dict[str, str]
    """By an array and an axis, as ``"layers.0.weight 1"``, why indices of it have to stay."""


def structure_of(model: Module, inputs: Sequence[Any]) -> Structure:
    """The structure of a model, as it infers on such inputs."""
    params, state = split(model)
    arrays = {**params, **state}
    program = _program(model, params, state, inputs)
    links, indices = Links(), []
    values: list[Value] = []
    for path in (*params, *state):
        values.append(_numbered(path, arrays[path], links, indices))
    values += [unknown(var.aval.ndim) for var in program.jaxpr.invars[len(values) :]]
    for value in _Reader(links).run(program.jaxpr, program.consts, values):
        for label in value.axes:
            links.hold(label, "the model's results have it")
    return _sorted_out(links, indices)


def _program(model: Module, params: Any, state: Any, inputs: Sequence[Any]) -> Any:
    """What the model computes, its arrays first: those of ``params``, of ``state``, then the inputs."""

    def run(params: list[Any], state: list[Any], *inputs: Any) -> Any:
        held = dict(zip(names[0], params, strict=True)), dict(zip(names[1], state, strict=True))
        return apply(model, *held, *inputs, train=False)[0]

    names = tuple(params), tuple(state)
    with reference_forms(), telling_layers(model):  # a kernel cannot be read
        return jax.make_jaxpr(run)(list(params.values()), list(state.values()), *inputs)


def _numbered(path: str, array: Any, links: Links, indices: list[Index]) -> Value:
    """An array of the model, each index of each of its axes with a number; of an axis of size 1 none can go."""
    axes = []
    for axis, size in enumerate(array.shape):
        axes.append(links.fresh(size) if size > 1 else None)
        indices += [Index(path, axis, i) for i in range(size)] if size > 1 else []
    return Value(tuple(axes), tuple(label is not None for label in axes))


class _Reader:
    """Goes through a program, operation by operation."""

    def __init__(self, links: Links):
        self.links = links

    def run(self, jaxpr: Any, consts: Sequence[Any], values: Sequence[Value]) -> list[Value]:
        """What is known of a program's results, from what is known of what comes in."""
        known: dict[Any, Value] = dict(zip(jaxpr.constvars, map(literal, consts), strict=True))
        known |= dict(zip(jaxpr.invars, values, strict=True))

        def read(var: Any) -> Value:
            return literal(var.val) if hasattr(var, "val") else known[var]

        for equation in jaxpr.eqns:
            made = self.equation(equation, [read(var) for var in equation.invars])
            known |= dict(zip(equation.outvars, made, strict=True))
        return [read(var) for var in jaxpr.outvars]

    def equation(self, equation: Any, values: list[Value]) -> list[Value]:
        """One operation; what it calls is read too."""
        name = equation.primitive.name
        reason = f"{name} in {layer_of(equation) or 'the model itself'}"
        if name == "scan":
            return self.scan(equation, values, reason)
        if name == "cond":
            return self.cond(equation, values, reason)
        inner = next((equation.params[key] for key in _CALLS if key in equation.params), None)
        if inner is not None and name != "while":
            closed = hasattr(inner, "jaxpr")
            jaxpr, consts = (inner.jaxpr, inner.consts) if closed else (inner, ())
            if len(jaxpr.invars) == len(values):
                return self.run(jaxpr, consts, values)
        return RULES.get(name, held)(values, equation, self.links, reason)

    def scan(self, equation: Any, values: list[Value], reason: str) -> list[Value]:
        """A loop: what is carried keeps its indices, and the axis that is gone over has to stay."""
        body, (fixed, carried) = equation.params["jaxpr"], scan_counts(equation.params)
        consts, carry, over = values[:fixed], values[fixed : fixed + carried], values[fixed + carried :]
        begun = [Value(value.axes, (False,) * value.rank) for value in carry]
        rows = []
        for value in over:
            self.links.hold(value.axes[0], reason)
            rows.append(Value(value.axes[1:], value.zero[1:], value.blank))
        made = self.run(body.jaxpr, body.consts, [*consts, *begun, *rows])
        ended = [self.same([a, b], reason) for a, b in zip(begun, made[:carried], strict=True)]
        return [*ended, *(Value((None, *value.axes), (False, *value.zero)) for value in made[carried:])]

    def cond(self, equation: Any, values: list[Value], reason: str) -> list[Value]:
        """One of several programs."""
        branches = [self.run(one.jaxpr, one.consts, values[1:]) for one in equation.params["branches"]]
        return [self.same(made, reason) for made in zip(*branches, strict=True)]

    def same(self, values: Sequence[Value], reason: str) -> Value:
        """What is known of an array that is one of several."""
        axes = list(values[0].axes)
        for other in values[1:]:
            axes = [self.links.join(a, b, reason) for a, b in zip(axes, other.axes, strict=True)]
        zero = tuple(all(value.vanishes(axis) for value in values) for axis in range(len(axes)))
        return Value(tuple(axes), zero)


def _sorted_out(links: Links, indices: list[Index]) -> Structure:
    """The sets of indices that can go, and why others have to stay."""
    numbers, held = links.components()
    sets: dict[int, list[Index]] = {}
    reasons: dict[str, str] = {}
    for index, number in zip(indices, numbers[: len(indices)].tolist(), strict=True):
        if number in held:
            reasons.setdefault(f"{index.path} {index.axis}", held[number])
        else:
            sets.setdefault(number, []).append(index)
    return Structure(tuple(tuple(one) for one in sets.values()), reasons)
