"""What a compiled step sends between devices: its collectives, each as often as the loops around it run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

from phlox.core import Computation, Instruction, listed_bytes
from phlox.parallel.planning._groups import members

_KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all")
_SCATTERED = "all-reduce-scatter"  # so TPUs call a fusion of a sum and of the part of it that each takes
_CALLED = re.compile(r"\b(?:calls|body|branch_computations|true_computation|false_computation|called_computations)=")
_NAMES = re.compile(r"%([\w.\-]+)")
_TRIPS = re.compile(r'known_trip_count"?:\s*\{"n":"(\d+)"')
_CONDITION = re.compile(r"\bcondition=%([\w.\-]+)")
_CONSTANT = re.compile(r"= \w+\[\]\S* constant\((\d+)\)|^\w+\[\]\S* constant\((\d+)\)")


@dataclass(frozen=True)
class Sent:
    """A collective of a step.

    Attributes:
        kind: ``"all-gather"`` and so on.
        bytes: of its result on one device; of a ``reduce-scatter`` those of its operand.
        axes: the axes of the mesh along which devices take part.
        members: the numbers of the devices that take part together with the first.
        times: how often it runs in a step.
    """

    kind: str
    bytes: int
    axes: tuple[str, ...]
    members: tuple[int, ...]
    times: int

    @property
    def over_links(self) -> float:
        """Bytes that a device sends for it in a step, where all go round a ring."""
        n, whole = len(self.members), self.times * self.bytes
        if self.kind == "collective-permute":
            return float(whole)
        return (2 if self.kind == "all-reduce" else 1) * whole * (n - 1) / n


class _Ran(NamedTuple):
    """An instruction, how often it runs, and the name of the computation that it stands in."""

    line: Instruction
    times: int
    inside: str


def sent(program: Mapping[str, Computation], mesh: Mesh) -> tuple[Sent, ...]:
    """The collectives of a compiled program for the devices of a mesh."""
    found = []
    for line, times, inside in _run(program, next((c for c in program.values() if c.is_entry), None), 1):
        kind = line.kind.removesuffix("-start")
        together = members(line.text, mesh.size) if kind in _KINDS else ()
        if len(together) > 1:
            kind = "reduce-scatter" if kind == "all-reduce" and inside.startswith(_SCATTERED) else kind
            whole = len(together) if line.kind == "reduce-scatter" else 1
            found.append(Sent(kind, whole * _bytes(line), _axes(together, mesh), together, times))
    return tuple(found)


def _run(program: Mapping[str, Computation], computation: Computation | None, times: int) -> Iterator[_Ran]:
    """Each instruction that is run, loops and what they call included."""
    if computation is None:
        return
    for line in computation.instructions:
        yield _Ran(line, times, computation.name)
        if line.kind.endswith(("-done", "-update")):  # what was started is counted where it starts
            continue
        rounds = _rounds(line, program) if line.kind == "while" else 1
        for name in _called(line):
            yield from _run(program, program.get(name), times * rounds)


def _called(line: Instruction) -> tuple[str, ...]:
    """The computations that an instruction runs: of a loop, of branches, of a fusion; not what a sum is made of."""
    names = []
    for mark in _CALLED.finditer(line.text):
        rest = line.text[mark.end() :]
        names += _NAMES.findall(rest[: rest.index("}")] if rest.startswith("{") else rest.partition(",")[0])
    return tuple(names)


def _rounds(line: Instruction, program: Mapping[str, Computation]) -> int:
    """How often a loop runs: as the compiler notes, or up to where its condition counts; 1 where neither tells."""
    noted, condition = _TRIPS.search(line.text), _CONDITION.search(line.text)
    if noted:
        return int(noted[1])
    inside = program[condition[1]].instructions if condition and condition[1] in program else ()
    found = [int(m[1] or m[2]) for other in inside if (m := _CONSTANT.search(other.text))]
    return found[0] if len(found) == 1 and any("direction=LT" in other.text for other in inside) else 1


def _bytes(line: Instruction) -> int:
    """Of the result; what is started has its operands before it, and numbers of its own behind."""
    sizes = [listed_bytes(bits, shape) for bits, shape in line.shapes if shape or not line.kind.endswith("-start")]
    if line.kind.endswith("-start") and line.kind != "all-reduce-start":
        sizes = sizes[len(sizes) // 2 :]
    return sum(sizes)


def _axes(together: tuple[int, ...], mesh: Mesh) -> tuple[str, ...]:
    """The axes along which the places of these devices differ."""
    places = np.unravel_index(together, tuple(mesh.shape.values()))
    return tuple(name for name, at in zip(mesh.shape, places, strict=True) if len(set(at.tolist())) > 1)
