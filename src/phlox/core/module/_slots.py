"""Arrays by slot, gathered and written at C speed where many sit in one container."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

_MANY = 4  # from so many neighbours in one dict on, a bulk operation is the faster one


class Slots:
    """A fixed row of slots (container, key), read and written as one."""

    __slots__ = ("parts",)

    def __init__(self, slots: Sequence[tuple[Any, Any]]):
        # Each part is a dict with a getter of many of its keys, or else slots to visit one by one.
        self.parts: list[tuple[Any, Any, Any]] = []
        for _, group in groupby(slots, key=lambda slot: id(slot[0])):
            run = list(group)
            holder = run[0][0]
            if isinstance(holder, dict) and len(run) >= _MANY:
                keys = tuple(key for _, key in run)
                self.parts.append((holder, itemgetter(*keys), keys))
            elif self.parts and self.parts[-1][0] is None:
                self.parts[-1][2].extend(run)
            else:
                self.parts.append((None, None, run))

    def gather(self) -> list[Any]:
        """What the slots hold now."""
        found: list[Any] = []
        for holder, getter, run in self.parts:
            found += [at[key] for at, key in run] if holder is None else getter(holder)
        return found

    def write(self, values: Iterable[Any]) -> None:
        """Put values in the slots, in order."""
        rest = iter(values)
        for holder, _, run in self.parts:
            if holder is None:
                for (at, key), value in zip(run, rest, strict=False):  # ends with the slots, and takes no value more
                    at[key] = value
            else:
                holder.update(zip(run, rest, strict=False))
