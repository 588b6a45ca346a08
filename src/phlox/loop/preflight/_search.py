"""What makes a step fit: into how many micro-batches to split, and whose activations to compute again.

Both are found by compiling the changed step and asking the compiler, since only it knows what it does with them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

from phlox.loop.preflight._report import Memory, MemoryAdvice, MemoryRow

Measure = Callable[[int, tuple[str, ...]], Memory | None]
"""The memory of a step with its batch in n parts and these Modules computed again; None where that cannot be."""

_LEVELS = 4  # of Modules inside Modules that are tried


class Search:
    """Looks for what makes a step fit, and measures nothing twice.

    Arguments:
        measure: see ``Measure``.
        limit: bytes that the step may need.
        rows: of the batch.
        devices: that share it; every micro-batch has as many rows for each.
        splits: whether micro-batches may be tried.
    """

    def __init__(self, measure: Measure, limit: int, rows: int, *, devices: int = 1, splits: bool = True):
        self.measure, self.limit, self.rows, self.splits = functools.cache(measure), limit, rows, splits
        self.most = rows // devices  # micro-batches

    def micro_batches(self, again: tuple[str, ...] = ()) -> MemoryAdvice | None:
        """The fewest micro-batches with which the step fits; else the most that can be had."""
        whole = self.measure(1, again)
        options = [n for n in range(2, self.most + 1) if self.most % n == 0] if self.splits else []
        best: MemoryAdvice | None = None
        while options and whole is not None:
            n = options[0]
            found = self.measure(n, again)
            if found is None:
                break
            best = self._advice(found, n, again)
            if best.fits:
                break
            # total(n) is nearly fixed + moving / n: jump to where that fits
            moving = (whole.total - found.total) / (1 - 1 / n)
            spare = self.limit - (whole.total - moving)
            least = moving / spare if spare > 0 else math.inf
            options = [m for m in options[1:] if m >= least] or options[-1:] if n != options[-1] else []
        return best

    def remat(self) -> MemoryAdvice | None:
        """The Modules that, computed again, leave the smallest total: those of one level of the tree."""
        whole = self.measure(1, ())
        tried = [] if whole is None else [self._again(level) for level in levels(whole.rows)]
        found = [a for a in tried if a is not None]
        return min(found, key=lambda a: a.total, default=None)

    def _again(self, paths: tuple[str, ...]) -> MemoryAdvice | None:
        found = self.measure(1, paths)
        return None if found is None else self._advice(found, 1, paths)

    def _advice(self, found: Memory, n: int, again: tuple[str, ...]) -> MemoryAdvice:
        texts = [f"{n} micro-batches of {self.rows // n}"] * (n > 1) + [f"px.remat of {_listed(again)}"] * bool(again)
        return MemoryAdvice(" with ".join(texts), found.total, found.total <= self.limit, n, again)


def levels(rows: Sequence[MemoryRow]) -> list[tuple[str, ...]]:
    """Sets of Modules that together make up the model, from the coarsest below its root; those that keep something."""
    paths = [r.path for r in rows]
    keeping = [r.path for r in rows if r.activations]
    loops = [k for k in keeping if not any(_is_inside(other, k) for other in keeping)]  # they keep for their parts
    above = {p: [q for q in paths if _is_inside(p, q)] for p in paths}
    parents = {q for qs in above.values() for q in qs}
    found: list[tuple[str, ...]] = []
    for depth in range(1, _LEVELS + 1):
        level = [p for p in paths if len(above[p]) == depth or (0 < len(above[p]) < depth and p not in parents)]
        chosen = tuple(
            p for p in level if any(k == p or _is_inside(k, p) for k in keeping) or any(_is_inside(p, k) for k in loops)
        )
        if chosen and chosen not in found:
            found.append(chosen)
    return found


def _is_inside(path: str, outer: str) -> bool:
    return path.startswith((outer + ".", outer + "["))


def _listed(paths: Sequence[str]) -> str:
    """Paths in a row as a range: ``model.layers[0] … model.layers[7]``."""
    return ", ".join(paths) if len(paths) < 4 else f"{paths[0]} … {paths[-1]} ({len(paths)} Modules)"
