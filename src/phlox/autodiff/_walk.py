"""The walk back: from the last line to the first, rules turn cotangents of results into those of operands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from phlox.autodiff._program import Flat, Line
from phlox.autodiff._rules import STOPS, Rule
from phlox.core import StructureError

Act = Callable[[int, Any], Any]
"""``act(number, cotangent)`` gives the cotangent that goes on from the value of this number."""


@dataclass(frozen=True)
class Step:
    """A line as its rule sees it: operands and results with their values, and which cotangents are wanted."""

    line: Line
    xs: Sequence[Any]
    ys: Sequence[Any]
    wanted: tuple[bool, ...]
    rules: Mapping[str, Rule]

    def __getitem__(self, parameter: str) -> Any:
        return self.line.params[parameter]


def active(program: Flat, inputs: Sequence[bool]) -> list[bool]:
    """For each value, whether it depends on an input that is differentiated, by a way that gradients take back."""
    moved = [False] * len(program.types)
    for number, wanted in zip(program.inputs, inputs, strict=True):
        moved[number] = wanted and program.carries(number)
    for line in program.lines:
        if line.kind not in STOPS and any(moved[n] for n in line.reads):
            for number in line.makes:
                moved[number] = program.carries(number)
    return moved


def needed(program: Flat, moved: Sequence[bool]) -> list[Line]:
    """The lines that the walk visits, last to first: active, and on the way to an output."""
    reached = set(program.outputs)
    found = []
    for line in reversed(program.lines):
        if any(moved[n] and n in reached for n in line.makes):
            found.append(line)
            reached.update(n for n in line.reads if moved[n])
    return found


def check(lines: Sequence[Line], rules: Mapping[str, Rule], named: Callable[[str], str]) -> None:
    """Refuse a program that passes an operation without a rule."""
    for line in lines:
        if line.kind not in rules:
            raise no_rule(line.kind, named(line.layer))


def no_rule(kind: str, where: str) -> StructureError:
    """The error of an operation that nothing is known of."""
    return StructureError(
        "a rule for each operation that a gradient passes",
        got=f"{kind}, which has none",
        fix=f'give one, rewrite={{"{kind}": rule}}, or take px.grad, which knows all of JAX\'s',
        where=where,
        located=True,
    )


def walk(
    program: Flat,
    values: Sequence[Any],
    seeds: Sequence[Any],
    inputs: Sequence[bool],
    rules: Mapping[str, Rule],
    act: Act = lambda _, g: g,
) -> list[Any]:
    """Cotangents of the inputs; None for those that are not wanted, or that no way leads back to.

    Arguments:
        program: the lines.
        values: all values of a run forward, by number.
        seeds: a cotangent for each output, None for zero.
        inputs: which inputs are differentiated.
        rules: by kind of line.
        act: sees, and may change, each cotangent when it is complete.
    """
    moved = active(program, inputs)
    cotangents: dict[int, Any] = {}

    def add(number: int, g: Any) -> None:
        if g is not None and moved[number]:
            cotangents[number] = cotangents[number] + g if number in cotangents else g

    for number, seed in zip(program.outputs, seeds, strict=True):
        add(number, seed)
    for line in needed(program, moved):
        gs = [act(n, cotangents[n]) if n in cotangents else None for n in line.makes]
        if all(g is None for g in gs):
            continue
        xs, ys = [values[n] for n in line.reads], [values[n] for n in line.makes]
        for number, g in zip(line.reads, back(program, line, xs, ys, gs, moved, rules), strict=True):
            add(number, g)
    return [act(n, cotangents[n]) if n in cotangents else None for n in program.inputs]


def back(
    program: Flat,
    line: Line,
    xs: Sequence[Any],
    ys: Sequence[Any],
    gs: Sequence[Any],
    moved: Sequence[bool],
    rules: Mapping[str, Rule],
) -> list[Any]:
    """One line's cotangents of its operands, given those of its results."""
    if line.kind not in rules:  # in the body of a loop or branch
        raise no_rule(line.kind, line.layer or "the model")
    wanted = tuple(moved[n] for n in line.reads)
    step = Step(line, xs, ys, wanted, rules)
    whole = [
        zeros(program.types[n]) if g is None and program.carries(n) else g for n, g in zip(line.makes, gs, strict=True)
    ]
    found = rules[line.kind].back(step, *whole)
    return [_fitting(g, program.types[n]) if w else None for g, n, w in zip(found, line.reads, wanted, strict=True)]


def zeros(type_: Any) -> Any:
    """Zero of a type."""
    return jnp.zeros(type_.shape, type_.dtype)


def _fitting(g: Any, type_: Any) -> Any:
    """A cotangent of the operand's shape: JAX repeats operands along axes that they lack or have of size 1."""
    if g is None or g.shape == type_.shape:
        return g
    extra = g.ndim - len(type_.shape)
    repeated = [a for a, size in enumerate(g.shape) if a < extra or type_.shape[a - extra] != size]
    return jnp.sum(g, axis=tuple(repeated)).reshape(type_.shape)


def pulled(program: Flat, inputs: Sequence[Any], seeds: Sequence[Any], wanted: Sequence[bool], rules: Any) -> list[Any]:
    """Run a program forward and back; zeros where an input is wanted and no way leads to it."""
    found = walk(program, program.run(inputs), seeds, wanted, rules)
    return [
        zeros(program.types[n]) if g is None and w and program.carries(n) else g
        for n, g, w in zip(program.inputs, found, wanted, strict=True)
    ]
