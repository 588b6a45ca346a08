"""A traced function as a flat list of lines: calls opened, every value numbered, each line with its layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from phlox.core import layer_of
from phlox.core._compat import Literal, run_equation, scan_counts

# Calls that are opened: what they call stands in their place. Of a checkpoint, values are kept instead of made again.
_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
          "remat2": "jaxpr", "checkpoint": "jaxpr", "composite": "jaxpr"}  # fmt: skip
# Functions with a gradient of their own, which are opened where what they compute matters, and not their gradient.
_OWN = {"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


@dataclass(frozen=True)
class Line:
    """One operation: which values it reads and makes, by their numbers, and the layer that it belongs to."""

    kind: str
    params: dict[str, Any]
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    layer: str
    source: tuple[Any, Any]
    """The jaxpr and the equation in it, by which JAX runs the line."""

    def run(self, values: Sequence[Any]) -> list[Any]:
        """What the line makes of the values that it reads."""
        return run_equation(*self.source, values)


@dataclass
class Flat:
    """Lines in order; inputs, outputs and constants are numbers of values."""

    lines: list[Line] = field(default_factory=list)
    types: list[Any] = field(default_factory=list)
    constants: dict[int, Any] = field(default_factory=dict)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    whole: bool = False
    """Whether functions with a gradient of their own are opened too, and loops written out step by step."""

    def value(self, type_: Any) -> int:
        """The number of a new value."""
        self.types.append(type_)
        return len(self.types) - 1

    def constant(self, type_: Any, x: Any) -> int:
        """The number of a new value that is known."""
        number = self.value(type_)
        self.constants[number] = x
        return number

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Every value, by its number."""
        values: list[Any] = [None] * len(self.types)
        for number, x in (*self.constants.items(), *zip(self.inputs, inputs, strict=True)):
            values[number] = x
        for line in self.lines:
            made = line.run([values[n] for n in line.reads])
            for number, x in zip(line.makes, made, strict=True):
                values[number] = x
        return values

    def carries(self, number: int) -> bool:
        """Whether a value is of a type that has gradients."""
        return jnp.issubdtype(self.types[number].dtype, jnp.inexact)


def flat(closed: Any, layer: str = "", *, whole: bool = False) -> Flat:
    """The lines of a closed jaxpr; ``layer`` is where operations outside of any layer belong.

    With ``whole`` functions with a gradient of their own are opened too, and scans written out step by step.

    >>> import jax
    >>> [line.kind for line in flat(jax.make_jaxpr(lambda x: jax.nn.softplus(jax.jit(jax.numpy.sin)(x)))(1.0)).lines]
    ['sin', 'custom_jvp_call']
    """
    program = Flat(whole=whole)
    jaxpr = closed.jaxpr
    known = [program.constant(v.aval, x) for v, x in zip(jaxpr.constvars, closed.consts, strict=True)]
    program.inputs = [program.value(v.aval) for v in jaxpr.invars]
    program.outputs = _opened(program, jaxpr, known, program.inputs, layer)
    return program


def _opened(program: Flat, jaxpr: Any, known: Sequence[int], inputs: Sequence[int], layer: str) -> list[int]:
    """Write the lines of a jaxpr behind those that stand; the numbers of its outputs."""
    numbers = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*known, *inputs], strict=True))

    def number(v: Any) -> int:
        return program.constant(v.aval, v.val) if isinstance(v, Literal) else numbers[v]

    for equation in jaxpr.eqns:
        reads, kind, here = tuple(map(number, equation.invars)), equation.primitive.name, layer_of(equation) or layer
        opened = _CALLS.get(kind) or (_OWN.get(kind) if program.whole else None)
        if kind == "scan" and program.whole:
            makes = tuple(_written_out(program, equation, reads, here))
        elif opened:
            inner = equation.params[opened]
            body, consts = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
            held = [program.constant(v.aval, x) for v, x in zip(body.constvars, consts, strict=True)]
            makes = tuple(_opened(program, body, held, reads, here))
        else:
            makes = tuple(program.value(v.aval) for v in equation.outvars)
            program.lines.append(Line(kind, equation.params, reads, makes, here, (jaxpr, equation)))
        numbers.update(zip(equation.outvars, makes, strict=True))
    return [number(v) for v in jaxpr.outvars]


def _written_out(program: Flat, equation: Any, reads: Sequence[int], layer: str) -> list[int]:
    """Write the steps of a scan one behind the other; the numbers of its results."""
    length, reverse, body = (equation.params[name] for name in ("length", "reverse", "jaxpr"))
    constants, carries = scan_counts(equation.params)
    held = [program.constant(v.aval, x) for v, x in zip(body.jaxpr.constvars, body.consts, strict=True)]
    fixed, carry, rows = reads[:constants], reads[constants : constants + carries], reads[constants + carries :]
    made: dict[int, Sequence[int]] = {}
    for i in reversed(range(length)) if reverse else range(length):
        at = [_added(program, lambda v, i=i: lax.index_in_dim(v, i, 0, False), [row], layer) for row in rows]
        found = _opened(program, body.jaxpr, held, [*fixed, *carry, *at], layer)
        carry, made[i] = found[:carries], found[carries:]
    columns = zip(*(made[i] for i in range(length)), strict=True)
    return [*carry, *(_added(program, lambda *vs: jnp.stack(vs), column, layer) for column in columns)]


def _added(program: Flat, fn: Any, reads: Sequence[int], layer: str) -> int:
    """Write the lines of a function of values that stand; the number of its result."""
    types = [jax.ShapeDtypeStruct(program.types[n].shape, program.types[n].dtype) for n in reads]
    return _opened(program, jax.make_jaxpr(fn)(*types).jaxpr, [], reads, layer)[0]


def traced(fn: Any, *types: Any) -> Flat:
    """The lines of a function of arrays."""
    return flat(jax.make_jaxpr(fn)(*types))
