"""Which stage works on which micro-batch at which tick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Timetable:
    r"""The ticks of a pipeline: at each, every stage runs its blocks on one micro-batch and hands the result on.

    A stage works in $M R$ ticks of $M R + S - 1$ in each direction, and idles in the other $S - 1$.

    Attributes:
        stages: S, groups of devices that hold the blocks one after another.
        microbatches: M, parts of a batch.
        rounds: R, how often a micro-batch goes through all stages; above 1 the blocks are interleaved.

    >>> from phlox.parallel import pipeline
    >>> print(pipeline(3).schedule(microbatches=4))
    3 stages, 4 micro-batches: 6 ticks each way, each stage idle for 33 % of them
    forward  0 1 2 3 4 5
    stage 0  0 1 2 3 · ·
    stage 1  · 0 1 2 3 ·
    stage 2  · · 0 1 2 3
    backward 0 1 2 3 4 5
    stage 0  · · 3 2 1 0
    stage 1  · 3 2 1 0 ·
    stage 2  3 2 1 0 · ·
    """

    stages: int
    microbatches: int
    rounds: int = 1

    @property
    def items(self) -> int:
        """In how many ticks a stage works: micro-batches times rounds."""
        return self.microbatches * self.rounds

    @property
    def ticks(self) -> int:
        """From the first stage's first micro-batch to the last stage's last, in one direction."""
        return self.items + self.stages - 1

    @property
    def bubble(self) -> float:
        """The share of ticks in which a stage idles."""
        return (self.stages - 1) / self.ticks

    def item(self, n: Any) -> tuple[Any, Any]:
        """The micro-batch and the round that a stage works on in its n-th working tick; n may be traced.

        With several rounds, as many micro-batches as there are stages go through all of them before the next do:
        what the last stage gives is then just what the first needs next.
        """
        if self.rounds == 1:
            return n, n * 0
        turn, rest = n // (self.stages * self.rounds), n % (self.stages * self.rounds)
        return turn * self.stages + rest % self.stages, rest // self.stages

    def at(self, stage: int, tick: int) -> tuple[int, int] | None:
        """The micro-batch and the round of a stage at a tick of the forward pass; None where it idles."""
        n = tick - stage
        return self.item(n) if 0 <= n < self.items else None

    def __str__(self) -> str:
        rounds = "" if self.rounds == 1 else f", {self.rounds} rounds"
        idle = f"{self.ticks} ticks each way, each stage idle for {100 * self.bubble:.0f} % of them"
        head = f"{self.stages} stages, {self.microbatches} micro-batches{rounds}: {idle}"
        rows = [[self._cell(stage, tick) for tick in range(self.ticks)] for stage in range(self.stages)]
        return "\n".join([head, *_block("forward", rows), *_block("backward", [row[::-1] for row in rows])])

    def _cell(self, stage: int, tick: int) -> str:
        """A micro-batch by its number, with a letter for its round where there are several."""
        found = self.at(stage, tick)
        if found is None:
            return "·"
        return str(found[0]) + ("" if self.rounds == 1 else "abcdefghijklmnopqrstuvwxyz"[found[1] % 26])


def _block(title: str, rows: list[list[str]]) -> list[str]:
    """One direction as lines of even columns."""
    ticks = [str(tick) for tick in range(len(rows[0]))]
    wide = max(len(cell) for row in (ticks, *rows) for cell in row)
    named = [(f"{title:<8}", ticks), *((f"stage {n:<2}", row) for n, row in enumerate(rows))]
    return [" ".join([name, *(cell.rjust(wide) for cell in row)]) for name, row in named]
