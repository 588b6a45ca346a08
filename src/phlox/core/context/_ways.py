"""Other ways of computing what layers compute, for a block of code: how strategies over devices reach into layers.

A layer asks ``way("attention")`` and, where there is one, calls it in place of its own arithmetic. A way returns None
for what it cannot do, and the layer then goes on as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from phlox.core.context._setting import Block, Setting

Way = Callable[..., Any]


@dataclass(frozen=True)
class Ways:
    """Ways by name; part of what a compiled program is keyed by."""

    named: tuple[tuple[str, Way], ...] = ()


_ways = Setting("ways", Ways())


def way(name: str) -> Way | None:
    """The way that holds here for what goes by this name; None where layers compute as ever."""
    return next((found for known, found in _ways.value.named if known == name), None)


def ways(named: Mapping[str, Way]) -> Block:
    """Within the block these hold, in place of those of their names outside it.

    Arguments:
        named: each hashable, and equal where it computes the same: a frozen dataclass with a ``__call__``.
    """
    kept = tuple((name, found) for name, found in _ways.value.named if name not in named)
    return _ways(Ways(kept + tuple(named.items())))
