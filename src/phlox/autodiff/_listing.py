"""A gradient's program as text: its lines forward and back, with layers, types and what each costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, product
from keyword import iskeyword
from string import ascii_lowercase
from typing import Any

import jax
import numpy as np
from jax.interpreters import partial_eval

from phlox.autodiff._program import Flat, Line
from phlox.autodiff._rules import Rule
from phlox.autodiff._walk import active, back, needed
from phlox.core import describe, is_key
from phlox.nn import operations


@dataclass(frozen=True)
class Row:
    """One line of a program: what it computes, and for which layer."""

    direction: str
    """"forward" or "back"."""
    text: str
    kind: str
    """The operation of JAX that it is, or is the way back of."""
    layer: str
    """The path of the layer; nothing for what belongs to no layer."""
    type: str
    flops: int
    """Floating-point operations."""
    nbytes: int
    """Bytes of the result."""


def listing(program: Flat, inputs: Sequence[str], wanted: Sequence[bool], rules: Mapping[str, Rule]) -> tuple[Row, ...]:
    """The rows of a program whose inputs have these names."""
    names = _names(program, inputs)
    moved, seen = active(program, wanted), set(program.outputs[:1])
    rows = [_forward(program, line, names) for line in program.lines]
    for line in needed(program, moved):
        if seen.intersection(line.makes):  # others lead to State alone
            rows += _back(program, line, names, moved, rules, seen)
    return tuple(rows)


def text(program: Flat, inputs: Sequence[str], line: Line, operand: int | None, rules: Mapping[str, Rule]) -> str:
    """One line as it is printed: forward, or where an operand is named back to it."""
    names = _names(program, inputs)
    return _forward_text(line, names) if operand is None else _back_text(line, names, operand, rules, "=")


def table(rows: Sequence[Row]) -> str:
    """Rows in columns, forward above back."""
    texts = [len(r.text) for r in rows]
    types = [len(r.type) for r in rows]
    layers = [len(r.layer) for r in rows]
    a, b, c = max(texts, default=0), max(types, default=0), max(max(layers, default=0), 5)
    width = max((len(f"{r.flops:_}") for r in rows), default=0)
    lines = []
    for direction in ("forward", "back"):
        head = f"{'value':<{b}}  {'layer':<{c}}  {'flops':>{width}}" if direction == "forward" else ""
        lines.append(f"{direction:<{a + 2}}  {head}".rstrip())
        for r in rows:
            if r.direction == direction:
                lines.append(f"  {r.text:<{a}}  {r.type:<{b}}  {r.layer:<{c}}  {r.flops:>{width}_}")
    return "\n".join(lines)


def _forward(program: Flat, line: Line, names: Sequence[str]) -> Row:
    flops = operations(line.source[0].replace(eqns=[line.source[1]]))
    types = [program.types[n] for n in line.makes]
    return Row(
        "forward", _forward_text(line, names), line.kind, line.layer, _types(types), flops, sum(map(_nbytes, types))
    )


def _forward_text(line: Line, names: Sequence[str]) -> str:
    made = ", ".join(names[n] for n in line.makes)
    return f"{made} = {line.kind}({', '.join(names[n] for n in line.reads)})"


def _back(
    program: Flat,
    line: Line,
    names: Sequence[str],
    moved: Sequence[bool],
    rules: Mapping[str, Rule],
    seen: set[int],
) -> Iterator[Row]:
    flops = _flops_back(program, line, moved, rules)
    for i, number in enumerate(line.reads):
        if moved[number]:
            written = _back_text(line, names, i, rules, "+=" if number in seen else "=")
            seen.add(number)
            type_ = program.types[number]
            yield Row("back", written, line.kind, line.layer, _types([type_]), flops[i], _nbytes(type_))


def _back_text(line: Line, names: Sequence[str], operand: int, rules: Mapping[str, Rule], sign: str) -> str:
    gs, xs, ys = [f"∂{names[n]}" for n in line.makes], [names[n] for n in line.reads], [names[n] for n in line.makes]
    return f"∂{xs[operand]} {sign} {rules[line.kind].writes(gs, xs, ys, line.params, operand)}"


def _flops_back(program: Flat, line: Line, moved: Sequence[bool], rules: Mapping[str, Rule]) -> list[int]:
    """The operations of each operand's cotangent, each as if it were the only one."""
    if line.kind == "while":  # whose rounds are counted as it runs
        return [0] * len(line.reads)
    types = [[_struct(program.types[n]) for n in part] for part in (line.reads, line.makes)]
    seeds = [t if program.carries(n) else None for t, n in zip(types[1], line.makes, strict=True)]
    known = {i: program.constants[n] for i, n in enumerate(line.reads) if n in program.constants}

    def rule(xs: Any, ys: Any, gs: Any) -> list[Any]:
        found = back(program, line, [known.get(i, x) for i, x in enumerate(xs)], ys, gs, moved, rules)
        return [0.0 if g is None else g for g in found]

    jaxpr = jax.make_jaxpr(rule)(*types, seeds).jaxpr
    alone = [[i == j for j in range(len(line.reads))] for i in range(len(line.reads))]
    return [operations(partial_eval.dce_jaxpr(jaxpr, used)[0]) for used in alone]


def _names(program: Flat, inputs: Sequence[str]) -> list[str]:
    """A name for each value: inputs by their paths, numbers as they are, letters for the others."""
    names = [""] * len(program.types)
    for number, x in program.constants.items():
        names[number] = f"{np.asarray(x).item():.6g}" if np.ndim(x) == 0 and not is_key(x) else "constant"
    for number, name in zip(program.inputs, inputs, strict=True):
        names[number] = name
    letters = ("".join(word) for n in count(1) for word in product(ascii_lowercase, repeat=n))
    free = (word for word in letters if word not in set(inputs) and not iskeyword(word))
    return [name or next(free) for name in names]


def _struct(type_: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(type_.shape, type_.dtype)


def _types(types: Sequence[Any]) -> str:
    return ", ".join(describe(_struct(t)) for t in types)


def _nbytes(type_: Any) -> int:
    return math.prod(type_.shape) * type_.dtype.itemsize
