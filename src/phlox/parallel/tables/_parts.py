"""Which parts of a layer are cut by their outputs, which by their inputs: the table that a user reads and extends.

Maps come in pairs: the first is cut by columns, its outputs, so that each device computes some of the features, and the
second by rows, its inputs, so that it takes those as they lie; one sum over the devices ends the pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from phlox.core import Module, RangeError
from phlox.nn import Chain, GatedMLP, LinearAttention, Mamba, MixtureOfExperts, MultiHeadAttention
from phlox.parallel._strategy import Cut

AXIS = "tensor"
"""What stands in tables for the axis of the mesh, whatever it is called."""
WORDS = ("column", "row", "in turn", "whole")
ATTRIBUTE = "tensor_rules"


@dataclass(frozen=True)
class Part:
    """How what stands below an attribute of a layer is cut.

    Attributes:
        how: ``"column"``, by outputs; ``"row"``, by inputs; ``"in turn"``, of maps in a row, the first by columns, the
            next by rows, and so on; ``"whole"``; or of an array the axes of the mesh for its last axes.
        of: the attribute of the layer that counts what no cut may go through, ``"heads"``.
    """

    how: str | Cut
    of: str | None = None


_PARTS: dict[type[Module], dict[str, Any]] = {
    MultiHeadAttention: {
        "q_proj": ("column", "heads"),
        "k_proj": ("column", "kv_heads"),
        "v_proj": ("column", "kv_heads"),
        "out_proj": ("row", "heads"),
    },
    LinearAttention: {
        "query": ("column", "heads"),
        "keys": ("column", "heads"),
        "value": ("column", "heads"),
        "out": ("row", "heads"),
    },
    GatedMLP: {"gate": "column", "up": "column", "down": "row"},
    Chain: {"layers": "in turn"},
    MixtureOfExperts: {"router": "whole"},
    Mamba: {"into": "column", "select": "row", "delta": "column", "out": "row"},
}


def parts_of(cls: type[Module]) -> dict[str, Part]:
    """What a class says of its parts, by attributes joined by dots: its own body, then the table.

    Raises:
        RangeError: a class that says something else than a rule.
    """
    table = next((_PARTS[c] for c in cls.__mro__ if c in _PARTS), {})
    declared = getattr(cls, ATTRIBUTE, {})
    return {name: part_of(said, f"{cls.__name__}.{ATTRIBUTE}") for name, said in {**table, **declared}.items()}


def part_of(said: Any, where: str, axis: str = AXIS) -> Part:
    """A rule as a user writes it.

    Arguments:
        axis: what the mesh's axis is called, which may stand for ``"tensor"``.

    Raises:
        RangeError: it is none.
    """
    if said is None:
        return Part("whole")
    if isinstance(said, str) and said in WORDS:
        return Part(said)
    if isinstance(said, tuple | list):
        items = tuple(said)
        if len(items) == 2 and items[0] in WORDS and isinstance(items[1], str):
            return Part(*items)
        if all(item is None or item in (AXIS, axis) for item in items):
            return Part(tuple(None if item is None else AXIS for item in items))
    fix = f'write "column", "row" or "whole", or for an array its axes: (None, "{AXIS}")'
    raise RangeError("how something is cut", got=repr(said)[:100], fix=fix, where=where)


def classes() -> Iterator[type[Module]]:
    """The classes that say something, those of the table first, then all others that were loaded."""
    yield from _PARTS
    yield from (cls for cls in _below(Module, set()) if ATTRIBUTE in cls.__dict__)


def _below(cls: type[Module], seen: set[type[Module]]) -> Iterator[type[Module]]:
    for one in cls.__subclasses__():
        if one not in seen:
            seen.add(one)
            yield one
            yield from _below(one, seen)
