"""Which blocks of a decoder attend to all that stands before, and which to a window of it."""

from __future__ import annotations

from phlox.core import RangeError

FULL, SLIDING = "full_attention", "sliding_attention"


def check_kinds(where: str, kinds: tuple[str, ...], count: int, window: int | None) -> tuple[str, ...]:
    """The kinds of attention of all blocks.

    Raises:
        RangeError: another kind, more or fewer than there are blocks, or a window without a size.
    """
    if len(kinds) != count or not set(kinds) <= {FULL, SLIDING}:
        expected = f"layer_types of {count} blocks, each {SLIDING!r} or {FULL!r}"
        raise RangeError(expected, got=repr(kinds)[:200], fix="give one for each block", where=where)
    if SLIDING in kinds and not window:
        fix = f"set it, or make all layer_types {FULL!r}"
        raise RangeError(f"sliding_window above 0 for {SLIDING!r}", got=repr(window), fix=fix, where=where)
    return kinds
