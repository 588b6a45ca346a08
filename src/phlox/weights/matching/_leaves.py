"""The arrays of a model, each with the layer that owns it."""

from __future__ import annotations

from typing import Any, NamedTuple

from phlox.core import Module, is_key, modules, state_dict
from phlox.nn import parameter_kinds

_RANKS = {"mean": 1, "var": 1}  # of statistics, which are no parameters


class Leaf(NamedTuple):
    """One array of a model."""

    path: str
    owner: Module
    layer: str
    """The owner's path."""
    name: str
    """The path of the array within its owner."""
    value: Any
    stacked: int
    """How many axes stand in front, along which equal layers are stacked."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one, without the stacked axes."""
        return tuple(self.value.shape[self.stacked :])


def leaves_of(model: Module) -> list[Leaf]:
    """All arrays of a model that a file of weights can hold: parameters and statistics, no random keys."""
    kinds, owners = parameter_kinds(model), dict(modules(model))
    found = []
    for path, value in state_dict(model).items():
        if is_key(value):
            continue
        layer = _owner(path, owners)
        name = path[len(layer) + 1 :] if layer else path
        rank = kinds[path].rank if path in kinds else _RANKS.get(name, value.ndim)
        found.append(Leaf(path, owners[layer], layer, name, value, max(value.ndim - rank, 0)))
    return found


def _owner(path: str, owners: dict[str, Module]) -> str:
    """The path of the Module that holds an array: the longest that is above it."""
    at = path
    while at not in owners:
        at = at.rpartition(".")[0]
    return at
