"""Which layers' activations a compiled program keeps for its backward pass, read from the program itself.

The compiler schedules its instructions and names the operation of the traced program that each came from: by the
scope of the layer, and by ``transpose(…)`` where it belongs to the backward pass. So one walk along the schedule
tells what the forward pass made and the backward pass still reads, after fusion has done away with the rest.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from phlox.core import Computation, listed_bytes

MARK = "phlox-layer-"

_LAYER = re.compile(MARK + r"(\d+)")

# Other names for memory that something else holds.
_ALIASES = frozenset(["bitcast", "get-tuple-element", "tuple", "opt-barrier", "parameter", "constant"])


@dataclass
class _Buffer:
    """Memory that one instruction takes, from its place in the schedule to the last that reads it."""

    nbytes: int
    layer: int | None
    forward: bool  # of the forward pass, or of its repetition
    made: int
    last: int = -1
    read_backward: bool = False


def kept(program: Mapping[str, Computation]) -> dict[int | None, int]:
    """Bytes of activations kept, by the number of the layer in its mark (None: outside all layers)."""
    known: dict[str, dict[int | None, int]] = {}

    def within(name: str) -> dict[int | None, int]:
        if name not in known:
            known[name] = _at_the_fullest(_buffers(program[name], within)) if name in program else {}
        return known[name]

    return next((within(c.name) for c in program.values() if c.is_entry), {})


def _buffers(computation: Computation, within: Callable[[str], dict[int | None, int]]) -> list[_Buffer]:
    """What the computation makes; what a loop or a branch keeps inside is there while it runs."""
    buffers: list[_Buffer] = []
    holds: dict[str, list[_Buffer]] = {}  # what a name stands for
    elements: dict[str, list[list[_Buffer]]] = {}  # the same of a tuple's elements
    for at, line in enumerate(computation.instructions):
        if line.kind == "get-tuple-element" and elements.get(line.operands[0]):
            index = int(line.text.rpartition("index=")[2].split(",")[0])
            holds[line.name] = elements[line.operands[0]][index]
        elif line.kind in _ALIASES:
            holds[line.name] = [b for u in line.operands for b in holds.get(u, [])]
            elements[line.name] = [holds.get(u, []) for u in line.operands] if line.kind == "tuple" else []
        else:
            backward = "transpose(" in line.operation and "rematted_computation" not in line.operation
            for buffer in (b for u in line.operands for b in holds.get(u, [])):
                buffer.last = at
                buffer.read_backward |= backward
            layers = _LAYER.findall(line.operation)
            layer, forward = int(layers[-1]) if layers else None, "jvp(" in line.operation and not backward
            made = [_Buffer(listed_bytes(bits, sizes), layer, forward, at) for bits, sizes in line.shapes]
            buffers += made
            inside = max(map(within, line.bodies), key=lambda found: sum(found.values()), default={})
            buffers += [_Buffer(size, layer, True, at, at + 1, True) for layer, size in inside.items()]
            holds[line.name], elements[line.name] = made, [[b] for b in made]
    return buffers


def _at_the_fullest(buffers: list[_Buffer]) -> dict[int | None, int]:
    """What is alive of the activations that the backward pass reads, at the moment when that is most."""
    activations = [b for b in buffers if b.forward and b.read_backward]
    held = fullest = best = 0
    for at, change in sorted([(b.made, b.nbytes) for b in activations] + [(b.last, -b.nbytes) for b in activations]):
        held += change
        if held > best:
            best, fullest = held, at
    found: dict[int | None, int] = defaultdict(int)
    for b in activations:
        if b.made <= fullest < b.last:
            found[b.layer] += b.nbytes
    return dict(found)
