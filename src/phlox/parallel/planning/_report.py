"""What a plan found, as a table, as numbers, and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phlox.core import bytes_text, plain_text
from phlox.parallel._strategy import Strategy
from phlox.parallel.planning._sent import Sent
from phlox.parallel.planning._time import Times
from phlox.parallel.planning._topology import Topology

_WIDTH = 130
_HOUR = 3600.0


@dataclass(frozen=True)
class PlanRow:
    """One strategy, and what a step takes by it.

    Attributes:
        strategy: as ``px.fit(parallel=)`` takes it.
        remat: what the model's repeated layers compute again: a policy of ``px.remat``, True for all; None is as the
            model has it.
        memory: the ``px.Memory`` of a device; None where nothing was compiled.
        total: bytes that a device needs; where nothing was compiled at least so many, 0 where nothing is known.
        fits: whether a device has them.
        flops: operations of a step on one device, those of recomputing included.
        sent: the collectives of a step.
        times: seconds of its parts; None where the chip's speed is not known.
        mfu: the share of all chips' peak that the model's own operations come to; None likewise.
        cost: of a million tokens, or examples; None without a price, or without a time.
        reason: why it cannot be, where it cannot.
    """

    strategy: Strategy
    remat: str | bool | None
    memory: Any = None
    total: int = 0
    fits: bool = False
    flops: float = 0.0
    sent: tuple[Sent, ...] = ()
    times: Times | None = None
    mfu: float | None = None
    cost: float | None = None
    reason: str = ""

    @property
    def seconds(self) -> float | None:
        """Of a step."""
        return None if self.times is None else self.times.step

    @property
    def sent_bytes(self) -> float:
        """Bytes that a device sends in a step."""
        return sum(one.over_links for one in self.sent)

    def as_dict(self) -> dict[str, Any]:
        """Its numbers, as JSON has them."""
        parts = ("parameters", "state", "optimizer", "inputs", "activations", "temporaries", "outputs")
        memory = None if self.memory is None else {part: getattr(self.memory, part) for part in parts}
        by_kind: dict[str, float] = {}
        for one in self.sent:
            by_kind[one.kind] = by_kind.get(one.kind, 0.0) + one.over_links
        of = self.times
        return {
            "strategy": repr(self.strategy), "remat": self.remat, "fits": self.fits, "bytes": self.total,
            "memory": memory, "flops": self.flops, "sent": by_kind, "seconds": self.seconds, "mfu": self.mfu,
            "times": None if of is None else {n: getattr(of, n) for n in ("compute", "traffic", "hidden", "exposed")},
            "cost": self.cost, "reason": self.reason,
        }  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Strategies for a model on chips, the best first; printing it gives a table.

    Attributes:
        topology: the chips, as text.
        rows: what was tried; first what fits, the fastest of them first.
        limit: bytes that a device has; None where nobody knows.
        parameters: numbers that are trained.
        operations: floating-point operations of a step of the model, of all devices together, nothing computed again.
        count: tokens, or examples, of a step.
        unit: ``"tokens"`` or ``"examples"``.
        price: of a chip for an hour.
        estimate: whether memory and what is sent are those of programs compiled for other devices.
    """

    topology: str
    rows: tuple[PlanRow, ...]
    limit: int | None
    parameters: int
    operations: int
    count: int
    unit: str
    price: float | None
    estimate: bool

    @property
    def best(self) -> PlanRow | None:
        """The first that fits; None where none does."""
        return next((row for row in self.rows if row.fits), None)

    def as_dict(self) -> dict[str, Any]:
        """All its numbers, as JSON has them."""
        names = ("topology", "limit", "parameters", "operations", "count", "unit", "price", "estimate")
        return {name: getattr(self, name) for name in names} | {"rows": [row.as_dict() for row in self.rows]}

    def save(self, path: str | Path) -> None:
        """Write its numbers as JSON."""
        Path(path).write_text(json.dumps(self.as_dict(), indent=2) + "\n", "utf-8")

    def __rich__(self) -> Any:
        """The table, for rich."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(show_edge=False, pad_edge=False)
        names = ("strategy", "remat", "memory", "TFLOP", "sent", "step", "MFU", f"cost of 1M {self.unit}", "")
        cells = [self._cells(row) for row in self.rows]
        shown = [at for at in range(len(names)) if any(row[at] for row in cells)]
        for at in shown:
            justify = "left" if names[at] in ("strategy", "remat", "") else "right"
            table.add_column(names[at], justify=justify, overflow="fold")
        for row in cells:
            table.add_row(*[row[at] for at in shown])
        return Group(Text(self._verdict()), table)

    def _cells(self, row: PlanRow) -> list[str]:
        remat = "" if row.remat is None else "all" if row.remat is True else str(row.remat)
        note = row.reason or ("" if row.fits else f"{bytes_text(row.total - (self.limit or 0))} too much")
        known = row.memory is not None
        return [
            repr(row.strategy),
            remat,
            f"{'' if known else '> '}{bytes_text(row.total)}" if row.total else "",
            f"{row.flops / 1e12:.3g}" if row.flops else "",
            bytes_text(row.sent_bytes) if known else "",
            "" if row.seconds is None else f"{row.seconds:.3g} s",
            "" if row.mfu is None else f"{100 * row.mfu:.0f} %",
            "" if row.cost is None else f"{row.cost:.3g}",
            note,
        ]

    def _verdict(self) -> str:
        best, limit = self.best, "" if self.limit is None else f" of {bytes_text(self.limit)}"
        found = "nothing fits" if best is None else f"{best.strategy!r} is the first choice"
        estimate = "; an estimate: compiled for a CPU's devices" if self.estimate else ""
        return (
            f"{self.topology}{limit} each: {found}\n{self.parameters:_} parameters, {self.count:_} {self.unit} and "
            f"{self.operations / 1e12:.3g} TFLOP a step{estimate}"
        )

    def __str__(self) -> str:
        return plain_text(self, _WIDTH)

    __repr__ = __str__


def cost_of(seconds: float, topology: Topology, price: float, count: int) -> float:
    """What a million tokens cost: all chips for so many steps, at a price of one chip for an hour.

    >>> round(cost_of(1.8, Topology.of("v5p:2x2x1"), 4.2, 65536), 4)
    0.1282
    """
    return price * topology.chips * seconds / _HOUR / count * 1e6


def ranked(rows: list[PlanRow]) -> tuple[PlanRow, ...]:
    """What fits first, the fastest of it, or what needs least where no time is known; what cannot be at the end."""

    def place(row: PlanRow) -> tuple[bool, bool, float, float]:
        return not row.fits, bool(row.reason), row.seconds if row.seconds is not None else 0.0, row.total

    return tuple(sorted(rows, key=place))
