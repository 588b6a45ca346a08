"""What slots hold, and which of them begins as a prompt does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Held(NamedTuple):
    """Tokens whose keys and values a slot has, by the adapter that they were computed with."""

    adapter: str | None
    tokens: Sequence[int]


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts begin with alike.

    >>> shared([1, 2, 3, 4], [1, 2, 9, 4])
    2
    """
    low, high = 0, min(len(one), len(other))
    while low < high:  # slices are compared in C
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def best(held: Sequence[Held], adapter: str | None, prompt: Sequence[int]) -> tuple[int, int]:
    """The slot that has most of a prompt's beginning, and how many tokens of it.

    >>> best([Held(None, [1, 2]), Held(None, [1, 2, 3]), Held("a", [1, 2, 3, 4])], None, [1, 2, 3, 4])
    (1, 3)
    """
    found = 0, 0
    for slot, one in enumerate(held):
        if one.adapter == adapter and len(one.tokens) > found[1] and one.tokens[0] == prompt[0]:
            count = shared(one.tokens, prompt)
            found = (slot, count) if count > found[1] else found
    return found
