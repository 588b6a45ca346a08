"""Axes that are laid together, or apart: what a reshape does with indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phlox.compress.structure._links import Label, Links, Value

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Chunk:
    """Neighbouring axes that become neighbouring axes of as many numbers; those of size 1 are left out."""

    given: tuple[int, ...]
    made: tuple[int, ...]


def chunks(given: Shape, made: Shape) -> list[Chunk]:
    """A reshape as the smallest chunks, in order."""
    before, after = ([i for i, n in enumerate(shape) if n != 1] for shape in (given, made))
    found: list[Chunk] = []
    while before and after:
        a, b = [before.pop(0)], [after.pop(0)]
        while (m := math.prod(given[i] for i in a)) != (n := math.prod(made[i] for i in b)):
            if m < n:
                a.append(before.pop(0))
            else:
                b.append(after.pop(0))
        found.append(Chunk(tuple(a), tuple(b)))
    return found


def reshaped(value: Value, given: Shape, made: Shape, links: Links, reason: str) -> Value:
    """What is known of an array laid out anew.

    Where axes are laid together, indices of one of them can still be removed, and take all that was laid beside them
    with them. Where an axis is laid apart, as features into heads, the first of the new axes can lose indices, each
    with all numbers that belong to it.
    """
    axes: list[Label] = [None] * len(made)
    zero = [value.blank] * len(made)
    for axis, size in enumerate(given):
        if size == 1:
            links.hold(value.axes[axis], reason)
    for chunk in chunks(given, made):
        label, vanishes = _together(value, [given[i] for i in chunk.given], chunk.given, links, reason)
        sizes = [made[i] for i in chunk.made]
        first = chunk.made[0]
        axes[first] = _apart(label, sizes, links, reason)
        zero[first] = vanishes
    return Value(tuple(axes), tuple(zero), value.blank)


def _together(
    value: Value, sizes: Sequence[int], places: Sequence[int], links: Links, reason: str
) -> tuple[Label, bool]:
    """Numbers for axes laid together: those of one of them, the others are held."""
    able = [(i, value.axes[at]) for i, at in enumerate(places)]
    able = [(i, label) for i, label in able if label is not None]
    if not able:
        return None, value.blank
    chosen, label = min(able, key=lambda one: int(one[1].min()))
    for i, other in able:
        if i != chosen:
            links.hold(other, reason)
    assert label is not None
    shape = [1] * len(sizes)
    shape[chosen] = sizes[chosen]
    if len(sizes) == 1:
        return label, value.vanishes(places[0])
    return np.broadcast_to(label.reshape(shape), sizes).ravel(), value.vanishes(places[chosen])


def _apart(label: Label, sizes: Sequence[int], links: Links, reason: str) -> Label:
    """Numbers for the first of the axes that an axis is laid into."""
    if label is None or len(sizes) == 1:
        return label
    rows = label.reshape(sizes[0], -1)
    links.join(np.repeat(rows[:, 0], rows.shape[1] - 1), rows[:, 1:].ravel(), reason)
    return rows[:, 0]
