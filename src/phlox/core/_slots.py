"""Arrays by slot, gathered and written at C speed where many sit in one container."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

_MANY = 3  # from so many neighbours in one container on, a bulk operation is the faster one


class Slots:
    """A fixed row of slots (container, key), read and written as one."""

    __slots__ = ("parts",)

    def __init__(self, slots: Sequence[tuple[Any, Any]]):
        # Each part: a container, then either (None, keys) to visit one by one or a getter of them all.
        self.parts: list[tuple[Any, Any, tuple[Any, ...]]] = []
        for _, group in groupby(slots, key=lambda slot: id(slot[0])):
            run = list(group)
            holder, keys = run[0][0], tuple(key for _, key in run)
            bulk = isinstance(holder, dict) and len(keys) >= _MANY
            self.parts.append((holder, itemgetter(*keys) if bulk else None, keys))

    def gather(self) -> list[Any]:
        """What the slots hold now."""
        found: list[Any] = []
        for holder, getter, keys in self.parts:
            if getter is None:
                for key in keys:
                    found.append(holder[key])
            else:
                found += getter(holder)
        return found

    def write(self, values: Iterable[Any]) -> None:
        """Put values in the slots, in order."""
        rest = iter(values)
        for holder, getter, keys in self.parts:
            if getter is None:
                for key in keys:
                    holder[key] = next(rest)
            else:
                holder.update(zip(keys, rest, strict=False))  # ends with the keys
