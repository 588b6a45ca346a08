"""Which layers' activations a compiled program keeps for its backward pass, read from the program itself.

The compiler schedules its instructions and names the operation of the traced program that each came from: by the
scope of the layer, and by ``transpose(…)`` where it belongs to the backward pass. So one walk along the schedule
tells what the forward pass made and the backward pass still reads, after fusion has done away with the rest.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

MARK = "phlox-layer-"

_LAYER = re.compile(MARK + r"(\d+)")
_HEAD = re.compile(r"^(?:ENTRY )?%(\S+) .*\{$")
_LINE = re.compile(r"^\s+(?:ROOT )?%(\S+) = (.*)$")
_ARRAY = re.compile(r"([a-z]+)(\d*)\w*\[([\d,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
_OPERATION = re.compile(r'op_name="([^"]*)"')
_CALLED = re.compile(
    r"(?:body|branch_computations|true_computation|false_computation|to_apply)=\{?([^},]*(?:, %[^},]*)*)"
)

# Names for memory that something else holds; of a loop, the operand's memory is the result's.
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


@dataclass
class _Walk:
    """One computation of the program: its buffers, and the computations that its loops and branches run."""

    buffers: list[_Buffer] = field(default_factory=list)
    called: list[str] = field(default_factory=list)


def kept(program: str) -> dict[int | None, int]:
    """Bytes of activations kept, by the number of the layer (None: outside all layers).

    Arguments:
        program: the compiled program's text, scheduled.
    """
    walks = {name: _walked(lines) for name, lines, _ in _computations(program)}
    entry = next((name for name, _, is_entry in _computations(program) if is_entry), None)
    total: dict[int | None, int] = defaultdict(int)
    queue = [entry] if entry is not None else []
    seen: set[str] = set()
    for name in queue:
        if name in seen or name not in walks:
            continue
        seen.add(name)
        queue += walks[name].called
        for layer, nbytes in _at_the_fullest(walks[name].buffers).items():
            total[layer] += nbytes
    return dict(total)


def _computations(program: str) -> Iterator[tuple[str, list[str], bool]]:
    """Each computation of a program: its name, its lines, and whether it is the one that is run."""
    name, lines, entry = "", [], False
    for line in program.splitlines():
        head = _HEAD.match(line)
        if head is not None:
            name, lines, entry = head[1], [], line.startswith("ENTRY")
        elif line.startswith("}"):
            yield name, lines, entry
        else:
            lines.append(line)


def _walked(lines: list[str]) -> _Walk:
    walk = _Walk()
    holds: dict[str, list[_Buffer]] = {}  # what a name stands for
    elements: dict[str, list[list[_Buffer]]] = {}  # the same of a tuple's elements
    for at, line in enumerate(lines):
        found = _LINE.match(line)
        if found is None:
            continue
        name, (shape, kind, operands) = found[1], _parts(found[2])
        operation = (_OPERATION.search(line) or [None, ""])[1] or ""
        backward = "transpose(" in operation and "rematted_computation" not in operation
        used = _NAME.findall(operands)
        if kind == "get-tuple-element" and elements.get(used[0]):
            index = int(line.rpartition("index=")[2].split(",")[0])
            holds[name] = elements[used[0]][index]
            continue
        if kind in _ALIASES:
            holds[name] = [b for u in used for b in holds.get(u, [])]
            elements[name] = [holds.get(u, []) for u in used] if kind == "tuple" else []
            continue
        for buffer in (b for u in used for b in holds.get(u, [])):
            buffer.last = at
            buffer.read_backward |= backward
        layers = _LAYER.findall(operation)
        made = [
            _Buffer(nbytes, int(layers[-1]) if layers else None, "jvp(" in operation and not backward, at)
            for nbytes in _sizes(shape)
        ]
        walk.buffers += made
        holds[name], elements[name] = made, [[b] for b in made]
        if kind in ("while", "conditional", "call"):
            called = _CALLED.search(line)
            walk.called += _NAME.findall(called[1]) if called else []
    return walk


def _parts(text: str) -> tuple[str, str, str]:
    """The shape, the kind and the operands of ``f32[2]{0} add(%a, %b), …``."""
    end = _closing(text) + 1 if text.startswith("(") else text.index(" ")
    kind, _, rest = text[end:].strip().partition("(")
    return text[:end], kind, rest[: _closing("(" + rest) - 1]


def _closing(text: str) -> int:
    """Where the bracket that ``text`` starts with is closed."""
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return at
    return len(text)


def _sizes(shape: str) -> list[int]:
    """Bytes of each array of a shape; a tuple may hold several."""
    return [_nbytes(*found) for found in _ARRAY.findall(re.sub(r"\{[^{}]*\}", "", shape))]


def _nbytes(letters: str, bits: str, sizes: str) -> int:
    count = 1
    for n in sizes.split(","):
        count *= int(n) if n else 1
    each = 8 if letters == "pred" else int(bits or 0)
    return (count * each + 7) // 8


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
    return found
