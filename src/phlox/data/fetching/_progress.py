"""How much of a file has come, in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(name: str, size: int, shown: bool | None) -> Iterator[Callable[[int], None]]:
    """A bar while the block runs, moved by what it gives: called with how many bytes there are.

    Arguments:
        shown: whether to show it; None shows it where standard error is a terminal.
    """
    if not (sys.stderr.isatty() if shown is None else shown):
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as shows:
        task = shows.add_task(name, total=size)
        yield lambda done: shows.update(task, completed=done)
