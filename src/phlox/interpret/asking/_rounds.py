"""Many copies of many rows: as many at once as memory allows, each round one compiled program, progress shown."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError
from phlox.interpret.asking._asked import Asked
from phlox.interpret.asking._trees import taken

MEMORY = 9 << 28  # bytes of activations that a round may take, those of nested layers counted twice


def rounds(
    asked: Asked,
    copies: int,
    work: Callable[..., Any],
    *,
    beside: Sequence[Any] = (),
    each: Sequence[Any] = (),
    stacked: bool = False,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Any:
    """``work(part, *beside, *each, counts)`` for some rows and some copies at a time, put together.

    Arguments:
        copies: how often each row is to be computed.
        work: gets an ``Asked`` of some rows, the same rows of ``beside``, some of ``each``, and (copies,) ones, but
            zeros for copies that only fill a round up. It gives a tree (rows, …), summed over rounds of copies; with
            ``stacked``, (copies, rows, …), in their order.
        beside: trees (rows, …), or (1, …) for all rows.
        each: arrays (copies, …).
        batch_size: how many rows times copies a round has; None for as many as memory allows.
        progress: whether a bar is shown; None shows one in a terminal, for what takes longer than two seconds.
    """
    limit = _limit(asked, batch_size)
    row_parts = _parts(asked.rows, limit)
    copy_parts = _parts(copies, max(1, limit // len(row_parts[0])))
    found = []
    with bar(asked.where, len(row_parts) * len(copy_parts), progress) as step:
        for part in row_parts:
            one = np.minimum(part, asked.rows - 1) if len(row_parts) > 1 else None
            some = asked if one is None else asked.of(taken(asked.z, one), taken(asked.context, one))
            rows = [tree if one is None else taken(tree, one) for tree in beside]
            done: list[Any] = []
            for numbers in copy_parts:
                counts = jnp.asarray(numbers < copies, jnp.float32)
                chosen = [jnp.asarray(e)[np.minimum(numbers, copies - 1)] for e in each]
                done.append(work(some, *rows, *chosen, counts))
                step()
            found.append(_stacked(done, copies) if stacked else _summed(done))
    axis = 1 if stacked else 0
    return jax.tree.map(lambda *xs: jnp.concatenate(xs, axis)[_cut(axis, asked.rows)], *found)


def _limit(asked: Asked, batch_size: int | None) -> int:
    if batch_size is None:
        return max(1, MEMORY // (2 * asked.nbytes))
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        fix = "leave it out, and memory decides"
        raise RangeError("batch_size of 1 or more rows", got=repr(batch_size), fix=fix, where=asked.where)
    return batch_size


def _parts(count: int, limit: int) -> list[np.ndarray[Any, Any]]:
    """The numbers below ``count`` in rounds of one size; those past the end fill the last one up.

    Of less than twice as many rounds as are needed, those that fill up least: 64 in fours of 16, not in threes of 22.
    """
    least = math.ceil(count / limit)
    number = min(range(least, 2 * least), key=lambda n: n * math.ceil(count / n))
    size = math.ceil(count / number)
    return [np.arange(i * size, (i + 1) * size) for i in range(number)]


def _summed(done: list[Any]) -> Any:
    return jax.tree.map(lambda *xs: sum(xs[1:], xs[0]), *done)


def _stacked(done: list[Any], copies: int) -> Any:
    return jax.tree.map(lambda *xs: jnp.concatenate(xs)[:copies], *done)


def _cut(axis: int, rows: int) -> Any:
    return (slice(None),) * axis + (slice(rows),)


@contextmanager
def bar(name: str, total: int, shown: bool | None) -> Iterator[Callable[[], None]]:
    """A bar in a terminal while the block runs, moved by each call of what it gives.

    Arguments:
        shown: None shows it where standard error is a terminal and two seconds are over.
    """
    if not (sys.stderr.isatty() if shown is None else shown):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    start, shows = time.monotonic(), Progress(*columns, console=Console(stderr=True))
    task = shows.add_task(name.removeprefix("px.interpret."), total=total)

    def step() -> None:
        shows.advance(task)
        if not shows.live.is_started and (shown or time.monotonic() - start > 2):
            shows.start()

    try:
        yield step
    finally:
        shows.stop()
