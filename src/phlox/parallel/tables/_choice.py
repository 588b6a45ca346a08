"""How one array of a model is cut, by the layers that it stands in, from the innermost outwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from phlox.core import Module, modules
from phlox.parallel._strategy import Cut, Place
from phlox.parallel.tables._axes import alone, axes_of, is_map
from phlox.parallel.tables._parts import AXIS, Part, parts_of

_BY = {"column": "out", "row": "in"}


def cut_of(place: Place, parts: int) -> Cut:
    """How an array's last axes are cut over so many devices; ``()`` where it stays whole."""
    part = _said(place, parts)
    cut = cut_by(alone(place.layer) if part is None else part.how, place)
    return cut if fits(cut, place.shape, parts) else ()


def cut_by(how: str | Cut, place: Place) -> Cut:
    """How an array's last axes are cut, where its layer is cut so."""
    if not isinstance(how, str):
        return how
    axes = axes_of(place.layer, place.owners[-1][1]) if how in _BY else ()
    return tuple(AXIS if axis == _BY[how] else None for axis in axes)


def fits(cut: Cut, shape: tuple[int, ...], parts: int) -> bool:
    """Whether there is something to cut, which the devices share evenly."""
    if len(cut) > len(shape) or not any(cut):
        return False
    last = shape[len(shape) - len(cut) :]
    return all(size and size % parts == 0 for size, name in zip(last, cut, strict=True) if name)


def counted(layer: Module) -> int | None:
    """How many heads a layer has that no cut may go through; None of another layer."""
    named = [part.of for part in parts_of(type(layer)).values() if part.of]
    return getattr(layer, named[0]) if named else None


def _said(place: Place, parts: int) -> Part | None:
    """What the nearest layer around says of the part that an array belongs to."""
    for i in reversed(range(len(place.owners))):
        layer = place.owners[i][0]
        below = ".".join(str(name) for _, name in place.owners[i:])
        for name, part in _matching(layer, below):
            found = _in_turn(layer, name, place, i) if part.how == "in turn" else part
            if found is not None:
                return found if _is_even(layer, found, parts) else Part("whole")
    return None


def _matching(layer: Module, below: str) -> Iterator[tuple[str, Part]]:
    """The rules of a layer for what stands below it, the closest one first."""
    said = parts_of(type(layer))
    for name in sorted(said, key=len, reverse=True):
        if below == name or below.startswith(name + "."):
            yield name, said[name]


def _is_even(layer: Any, part: Part, parts: int) -> bool:
    return part.of is None or getattr(layer, part.of) % parts == 0


def _in_turn(layer: Any, name: str, place: Place, at: int) -> Part | None:
    """Whether a map is the first of a pair or the second; None for what stands in a layer that is more than a map."""
    if at + 1 == len(place.owners):
        return None
    mine, turn = place.owners[at + 1][0], 0
    for one in _row(getattr(layer, name)):
        maps = sum(map(is_map, modules(one).values())) if isinstance(one, Module) else 0
        if one is mine:
            return Part(("column", "row")[turn % 2]) if maps == 1 else None
        turn = 0 if maps > 1 else turn + maps
    return None


def _row(held: Any) -> list[Any]:
    return list(held.values() if isinstance(held, dict) else held)
