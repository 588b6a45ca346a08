"""Which devices a collective brings together, in each of the forms in which compilers write it."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

_PAIRS = re.compile(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}")
_LISTED = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_LAID = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_MESH = re.compile(r"replica_groups=@?mesh\[([^\]]*)\]\s*\{([^}]*)\}")
_SIZE = re.compile(r"'(\w+)'=(\d+)")
_AXIS = re.compile(r"'(\w+)'(?::\((\d+)\)(\d+))?")


def members(text: str, count: int) -> tuple[int, ...]:
    """The numbers of the devices of the first group of a collective; all where none is named.

    Of what is sent from one to another, the first two that differ.

    >>> members("replica_groups={{0,2},{1,3}}", 4), members("replica_groups=[2,2]<=[2,2]T(1,0)", 4)
    ((0, 2), (0, 2))
    >>> members("replica_groups=mesh['a'=2,'b'=2] {'b'}", 4), members("source_target_pairs={{0,0},{1,2}}", 4)
    ((0, 1), (1, 2))
    """
    if pairs := _PAIRS.search(text):
        found = [tuple(map(int, pair.split(","))) for pair in re.findall(r"\{([\d,]+)\}", pairs[1])]
        return next((pair for pair in found if pair[0] != pair[1]), ())
    if listed := _LISTED.search(text):
        return tuple(map(int, listed[1].split(",")))
    if laid := _LAID.search(text):
        sizes = [int(n) for n in laid[3].split(",")]
        order = tuple(map(int, laid[4].split(","))) if laid[4] else tuple(range(len(sizes)))
        numbers: Any = np.arange(math.prod(sizes)).reshape(sizes).transpose(order)
        return tuple(numbers.reshape(int(laid[1]), int(laid[2]))[0].tolist())
    mesh = _MESH.search(text)
    return tuple(range(count)) if mesh is None else _along(_SIZE.findall(mesh[1]), _AXIS.findall(mesh[2]))


def _along(sizes: list[tuple[str, str]], axes: list[tuple[str, str, str]]) -> tuple[int, ...]:
    """Along some axes of a mesh from its first device on; ``(before, size)`` of an axis is a part of it."""
    strides, stride = {}, 1
    for name, size in reversed(sizes):
        strides[name] = (stride, int(size))
        stride *= int(size)
    found = [0]
    for name, before, part in axes:
        step, whole = strides[name]
        size = int(part) if part else whole
        step *= whole // (int(before) * size) if part else 1
        found = [n + step * k for n in found for k in range(size)]
    return tuple(sorted(found))
