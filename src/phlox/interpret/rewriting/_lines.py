"""A question as lines that can be walked back, in which every function of one number is a single line.

An activation is written in many operations, GELU as ``x / 2 * (1 + erf(x / √2))``. What matters for rules is that each
number of its result depends on one number alone: such lines are drawn together to one, of the kind "unary".
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from phlox.autodiff import ELEMENTWISE, RULES, Flat, Line, Rule, Step, flat
from phlox.core import Module, functionalize, telling_layers
from phlox.interpret.asking._question import Context, Question
from phlox.interpret.asking._trees import is_floating
from phlox.nn import whole_operations

UNARY = "unary"
BILINEAR = frozenset({"mul", "dot_general", "conv_general_dilated"})

# Each number of the result is from one number of each operand; those of ELEMENTWISE have slopes, these have none.
_POINTWISE = ELEMENTWISE | {"sign", "floor", "ceil", "round", "is_finite", "eq", "ne", "lt", "le", "gt", "ge"} | {
    "and", "or", "not", "xor", "stop_gradient", "clamp", "nextafter"}  # fmt: skip
_AFFINE = frozenset({"add", "sub", "neg", "copy", "copy_p", "convert_element_type", "add_any", "name"})


@dataclass(frozen=True)
class Unary(Line):
    """Lines drawn together: a function of one number, the first that is read; the others do not vary."""

    inside: tuple[Line, ...] = ()

    def run(self, values: Sequence[Any]) -> list[Any]:
        known = dict(zip(self.reads, values, strict=True))
        for line in self.inside:
            known.update(zip(line.makes, line.run([known[n] for n in line.reads]), strict=True))
        return [known[self.makes[0]]]


@dataclass(frozen=True)
class Lines:
    """A question as lines: what is explained comes first among their inputs."""

    program: Flat
    inputs: tuple[Any, ...]
    """The arrays that the lines start from."""
    wanted: tuple[bool, ...]
    """Which of them are explained, and have gradients."""
    form: Any
    varies: tuple[bool, ...]
    """For each value whether it depends on what is explained."""

    def given(self, z: Any) -> list[Any]:
        """The inputs with something else in the place of what is explained."""
        leaves = jax.tree.leaves(z)
        return [*leaves, *self.inputs[len(leaves) :]]

    def found(self, walked: Sequence[Any]) -> Any:
        """A tree like what is explained, of what a walk found; zeros where it found nothing."""
        leaves = self.inputs[: self.form.num_leaves]
        pairs = zip(walked, leaves, strict=False)
        return self.form.unflatten([jnp.zeros(jnp.shape(v)) if g is None else g for g, v in pairs])

    def changed(self, line: Line) -> tuple[bool, ...]:
        """Which operands of a line vary."""
        return tuple(self.varies[n] for n in line.reads)


def lines_of(question: Question, z: Any, context: Context) -> Lines:
    """Trace the sum of a question's scores, and draw together what is a function of one number."""
    leaves, form = jax.tree.flatten(z)
    telling = telling_layers(question.model) if isinstance(question.model, Module) else nullcontext()
    with telling, whole_operations():
        call = functionalize(lambda q, z, context: q(z, context).sum(), (question, z, context), {}, kind="grad")
        traced = jax.make_jaxpr(lambda bare, held: call.pure(held, bare).outputs)(call.bare, call.leaves)
    inputs = (*call.bare, *call.leaves)
    program = flat(traced, whole=True)
    varies = _varying(program, len(leaves))
    program = _drawn_together(program, varies)
    wanted = tuple(i < len(leaves) and is_floating(v) for i, v in enumerate(inputs))
    return Lines(program, inputs, wanted, form, tuple(varies))


def _varying(program: Flat, explained: int) -> list[bool]:
    varies = [False] * len(program.types)
    for number in program.inputs[:explained]:
        varies[number] = True
    for line in program.lines:
        if any(varies[n] for n in line.reads):
            for number in line.makes:
                varies[number] = True
    return varies


def _drawn_together(program: Flat, varies: Sequence[bool]) -> Flat:
    """The program with functions of one number as lines of their own, and without what nobody reads."""
    roots = _roots(program, varies)
    maker = {n: line for line in program.lines for n in line.makes}
    lines: dict[int, Line] = {}
    order = {id(line): i for i, line in enumerate(program.lines)}
    todo, seen = list(program.outputs), set()
    while todo:
        number = todo.pop()
        if number in seen or number not in maker:
            continue
        seen.add(number)
        line = _unary(program, number, roots, maker, varies) or maker[number]
        lines[order[id(maker[number])]] = line
        seen.update(line.makes)
        todo.extend(line.reads)
    return replace(program, lines=[lines[i] for i in sorted(lines)])


def _roots(program: Flat, varies: Sequence[bool]) -> list[int]:
    """For each value the one that it is a function of, number by number; itself where there is no such."""
    roots = list(range(len(program.types)))
    uniform = [t.shape == () for t in program.types]  # one number for all
    for line in program.lines:
        alike = all(uniform[n] for n in line.reads)
        if not any(varies[n] for n in line.reads):
            if alike and (line.kind in _POINTWISE or line.kind == "broadcast_in_dim"):
                for n in line.makes:
                    uniform[n] = True
            continue
        read = {roots[n] for n in line.reads if varies[n]}
        still = all(uniform[n] for n in line.reads if not varies[n])
        if line.kind in _POINTWISE and len(line.makes) == 1 and len(read) == 1 and still:
            (root,) = read
            if program.types[line.makes[0]].shape == program.types[root].shape and program.carries(root):
                roots[line.makes[0]] = root
    return roots


def _unary(
    program: Flat, number: int, roots: Sequence[int], maker: dict[int, Line], varies: Sequence[bool]
) -> Line | None:
    """A value as one line from what it is a function of; None where that is a single affine line, or none."""
    root = roots[number]
    if root == number or not program.carries(number):
        return None
    chain = _chain(number, root, maker)
    root, chain = _past_affine(root, chain, varies)
    if all(_is_affine(line, varies) for line in _moving(chain, varies)):
        return None
    made = {n for line in chain for n in line.makes}
    others = dict.fromkeys(n for line in chain for n in line.reads if n not in made and n != root)
    last = maker[number]
    return Unary(UNARY, {}, (root, *others), (number,), last.layer, last.source, tuple(chain))


def _chain(number: int, root: int, maker: dict[int, Line]) -> list[Line]:
    """The lines between two values that vary, in order."""
    found: dict[int, Line] = {}
    todo = [number]
    while todo:
        n = todo.pop()
        if n != root and n in maker and n not in found:
            found[n] = maker[n]
            todo.extend(maker[n].reads)
    return [found[n] for n in sorted(found)]  # values are numbered as they are made


def _past_affine(root: int, chain: list[Line], varies: Sequence[bool]) -> tuple[int, list[Line]]:
    """Begin behind steps that scale and shift alone, so that a bias is no part of an activation."""
    while True:
        readers = [line for line in chain if root in line.reads]
        if len(readers) != 1 or not _is_affine(readers[0], varies) or len(_moving(chain, varies)) == 1:
            return root, chain
        root = readers[0].makes[0]
        chain = [line for line in chain if line is not readers[0]]


def _moving(chain: list[Line], varies: Sequence[bool]) -> list[Line]:
    return [line for line in chain if varies[line.makes[0]]]


def _is_affine(line: Line, varies: Sequence[bool]) -> bool:
    moving = [varies[n] for n in line.reads]
    if line.kind in _AFFINE:
        return True
    return (line.kind == "mul" and sum(moving) == 1) or (line.kind == "div" and moving == [True, False])


def plain(step: Step, *gs: Any) -> Sequence[Any]:
    """The rule of the gradient."""
    return slope_of(step, *gs) if isinstance(step.line, Unary) else RULES[step.line.kind].back(step, *gs)


def slope_of(step: Step, g: Any) -> list[Any]:
    """The gradient of a function of one number."""
    _, back = jax.vjp(lambda x: step.line.run([x, *step.xs[1:]])[0], step.xs[0])
    return [back(g)[0], *[None] * (len(step.xs) - 1)]


def rules_by(rule: Any, lines: Lines) -> dict[str, Rule]:
    """The same rule for lines of all kinds."""
    one = Rule(rule, lambda *_: "")
    return {line.kind: one for line in lines.program.lines}
