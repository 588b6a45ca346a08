"""What px.memory found, and how it prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phlox.core import PhloxError, bytes_text, plain_text

_WIDTH = 110
_ROWS = 30  # the printed table shows the layers that need most


class NotEnoughMemoryError(PhloxError, MemoryError):
    """A step that needs more memory than the device has, refused before it runs."""


@dataclass(frozen=True)
class MemoryRow:
    """What one Module holds and what its call keeps, in bytes, without its parts: they have rows of their own."""

    path: str
    layer: str
    parameters: int
    state: int
    activations: int


@dataclass(frozen=True)
class MemoryAdvice:
    """One change, and the bytes that the step would need with it."""

    change: str
    total: int
    fits: bool
    micro_batches: int = 1
    """Into how many parts the change splits a batch."""
    remat: tuple[str, ...] = ()
    """Paths of the Modules whose activations the change computes again."""


@dataclass(frozen=True)
class Memory:
    """The memory that one call of a function needs, in bytes on each device; printing it gives a table.

    ``total`` is the sum of the first seven. What the call overwrites (parameters, State, the optimiser's) counts once:
    its memory is used again for the new values.
    """

    parameters: int
    """Arrays of Modules that gradients train, or that are frozen."""
    state: int
    """Other arrays of Modules: statistics, random keys, counters."""
    optimizer: int
    """The arrays of ``px.Optimizer``."""
    inputs: int
    """Arrays among the arguments: the batch."""
    activations: int
    """What the forward pass keeps for the backward pass, at the moment when that is most."""
    temporaries: int
    """What else the compiled program needs while it runs: gradients, workspace."""
    outputs: int
    """Results for which new memory is taken."""
    limit: int | None
    """What the device has for it, arrays counted that are on it already; None where nobody tells."""
    device: str
    name: str
    rows: tuple[MemoryRow, ...]
    advice: tuple[MemoryAdvice, ...] = ()

    @property
    def total(self) -> int:
        """All that must be there at once."""
        held = self.parameters + self.state + self.optimizer + self.inputs
        return held + self.activations + self.temporaries + self.outputs

    @property
    def excess(self) -> int:
        """By how much the total is above the limit; 0 where it fits or nobody knows the limit."""
        return 0 if self.limit is None else max(0, self.total - self.limit)

    @property
    def fits(self) -> bool:
        """Whether the device has enough, as far as anybody knows."""
        return self.excess == 0

    def check(self) -> Memory:
        """This report, where the step fits.

        Raises:
            NotEnoughMemoryError: it does not; says by how much, and what would help.
        """
        if not self.fits:
            assert self.limit is not None
            raise NotEnoughMemoryError(
                f"at most {bytes_text(self.limit)} for a step on {self.device}",
                got=f"one that needs {bytes_text(self.total)}, {bytes_text(self.excess)} too much: {self._largest()}",
                fix=self._fix(),
                where=self.name,
            )
        return self

    def _largest(self) -> str:
        parts = sorted(self._parts(), key=lambda part: -part[1])
        return ", ".join(f"{name} {bytes_text(n)}" for name, n in parts[:3] if n)

    def _fix(self) -> str:
        helps = [a for a in self.advice if a.fits] or list(self.advice)
        if not helps:
            return "take a smaller batch, a smaller model or a larger device"
        chosen = "; or ".join(f"{a.change}: {bytes_text(a.total)}" for a in helps)
        return chosen if helps[0].fits else f"no single change is enough; nearest come: {chosen}"

    def _parts(self) -> list[tuple[str, int]]:
        return [
            ("parameters", self.parameters),
            ("state", self.state),
            ("optimiser", self.optimizer),
            ("inputs", self.inputs),
            ("activations", self.activations),
            ("other temporaries", self.temporaries),
            ("new results", self.outputs),
        ]

    def __rich__(self) -> Any:
        """The tables, for rich."""
        from rich.console import Group
        from rich.text import Text

        return Group(Text(self._verdict()), self._layers_table(), *map(Text, self._advice_lines()))

    def _verdict(self) -> str:
        parts = " + ".join(f"{name} {bytes_text(n)}" for name, n in self._parts() if n)
        if self.limit is None:
            room = f"; nobody tells what {self.device} has"
        elif self.fits:
            room = f" of {bytes_text(self.limit)} on {self.device}: it fits"
        else:
            room = f", {bytes_text(self.excess)} more than the {bytes_text(self.limit)} on {self.device}"
        return f"{self.name} needs {bytes_text(self.total)}{room}\n= {parts}"

    def _layers_table(self) -> Any:
        from rich.table import Table

        rows = [r for r in self.rows if r.parameters or r.state or r.activations]
        shown = sorted(rows, key=lambda r: -(r.parameters + r.state + r.activations))[:_ROWS]
        table = Table(show_footer=True, show_edge=False, pad_edge=False)
        totals = [sum(getattr(r, n) for r in rows) for n in ("parameters", "state", "activations")]
        footers = ("", "total", *map(_cell, totals))
        for i, name in enumerate(("path", "layer", "parameters", "state", "activations")):
            table.add_column(name, footers[i], justify="left" if i < 2 else "right", overflow="fold")
        for r in rows:
            if r in shown:
                table.add_row(r.path, r.layer, _cell(r.parameters), _cell(r.state), _cell(r.activations))
        if len(rows) > len(shown):
            table.add_row("…", f"{len(rows) - len(shown)} smaller layers")
        return table

    def _advice_lines(self) -> list[str]:
        if not self.advice:
            return []
        lines = [f"  {a.change}: {bytes_text(a.total)}, {'fits' if a.fits else 'not enough'}" for a in self.advice]
        return ["what would help:", *lines]

    def __str__(self) -> str:
        return plain_text(self, _WIDTH)

    __repr__ = __str__


def _cell(n: int) -> str:
    return bytes_text(n) if n else ""
