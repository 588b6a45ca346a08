"""The text of a compiled program, read line by line: what each instruction makes, of what, and where it came from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_HEAD = re.compile(r"^(?:ENTRY )?%(\S+) .*\{$")
_LINE = re.compile(r"^\s+(?:ROOT )?%(\S+) = (.*)$")
_ARRAY = re.compile(r"([a-z]+)(\d*)\w*\[([\d,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
_OPERATION = re.compile(r'op_name="([^"]*)"')
_BODIES = re.compile(
    r"(?:body|branch_computations|true_computation|false_computation|to_apply)=\{?([^},]*(?:, %[^},]*)*)"
)


@dataclass(frozen=True)
class Instruction:
    """One line of a program."""

    name: str
    kind: str
    shapes: tuple[tuple[int, tuple[int, ...]], ...]
    """Bits of an element and sizes of each array that it makes."""
    operands: tuple[str, ...]
    text: str

    @property
    def operation(self) -> str:
        """The operation of the traced program that it came from, with the scopes around it."""
        found = _OPERATION.search(self.text)
        return found[1] if found else ""

    @property
    def bodies(self) -> tuple[str, ...]:
        """Names of the computations that it runs, being a loop, a branch or a call."""
        found = _BODIES.search(self.text) if self.kind in ("while", "conditional", "call") else None
        return tuple(_NAME.findall(found[1])) if found else ()


@dataclass(frozen=True)
class Computation:
    """A list of instructions in the order of the schedule."""

    name: str
    is_entry: bool
    instructions: Sequence[Instruction]


def computations(program: str) -> dict[str, Computation]:
    """All computations of a program, by name; one of them is its entry."""
    found: dict[str, Computation] = {}
    name, is_entry, lines = "", False, []
    for line in program.splitlines():
        head = _HEAD.match(line)
        if head is not None:
            name, is_entry, lines = head[1], line.startswith("ENTRY"), []
        elif line.startswith("}"):
            found[name] = Computation(name, is_entry, lines)
        elif (parts := _LINE.match(line)) is not None:
            lines.append(_instruction(parts[1], parts[2]))
    return found


def listed_bytes(bits: int, sizes: Sequence[int]) -> int:
    """Bytes of an array, of so many bits an element."""
    for n in sizes:
        bits *= n
    return (bits + 7) // 8


def _instruction(name: str, text: str) -> Instruction:
    """Reads ``f32[2]{0} add(%a, %b), metadata={…}``; of several arrays the shape is ``(f32[2]{0}, s32[])``."""
    end = _closing(text) + 1 if text.startswith("(") else text.index(" ")
    kind, _, rest = text[end:].strip().partition("(")
    operands = _NAME.findall(rest[: _closing("(" + rest) - 1])
    arrays = _ARRAY.findall(re.sub(r"\{[^{}]*\}", "", text[:end]))
    shapes = tuple((_bits(letters, bits), _sizes(sizes)) for letters, bits, sizes in arrays)
    return Instruction(name, kind, shapes, tuple(operands), text)


def _closing(text: str) -> int:
    """Where the bracket that ``text`` starts with is closed."""
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return at
    return len(text)


def _bits(letters: str, bits: str) -> int:
    return 8 if letters == "pred" else int(bits or 0)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(",") if n)
