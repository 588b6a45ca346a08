"""A line of a printed model: one part, with what it holds."""

from __future__ import annotations

from dataclasses import dataclass, field

from phlox.core.module._arrays import Path


@dataclass
class Line:
    """One part of the printed tree, or several equal ones in a row."""

    name: str  # "Dense", "relu", "float32"
    arguments: str = ""  # of the constructor, or an array's shape
    label: str = ""  # "norm=", or empty
    path: Path = ()
    params: int = 0  # of one, all below included
    state: int = 0
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    times: int = 1
    kind: str = "module"  # or "array" or "function"
    parts: list[Line] = field(default_factory=list)

    def same_as(self, other: Line) -> bool:
        """True where only the place differs."""
        mine = (self.name, self.arguments, self.params, self.state, self.notes, self.warnings)
        theirs = (other.name, other.arguments, other.params, other.state, other.notes, other.warnings)
        return mine == theirs and len(self.parts) == len(other.parts) and all(
            (a.label, a.times) == (b.label, b.times) and a.same_as(b)
            for a, b in zip(self.parts, other.parts, strict=True)
        )  # fmt: skip

    @property
    def text(self) -> str:
        """The line without its label and its parts, as its user would write it."""
        if self.kind == "array":
            return f"{self.name}[{self.arguments}]"
        return self.name if self.kind == "function" else f"{self.name}({self.arguments})"

    def counts(self) -> str:
        """Parameters and state, as printed behind the line."""
        each = f" ({self.times} × {self.params:_})" if self.times > 1 else ""
        found = [f"{counted(self.params * self.times, 'parameter')}{each}"] if self.params else []
        found += [f"{self.state * self.times:_} state"] if self.state else []
        return " + ".join(found)

    def remarks(self) -> str:
        """All that is printed behind the line."""
        return ", ".join(text for text in (self.counts(), *self.notes, *self.warnings) if text)


def counted(n: int, what: str) -> str:
    """``1 array``, ``2 arrays``."""
    return f"{n:_} {what}{'' if n == 1 else 's'}"
