"""Units: what can be removed as a whole, such as a channel, a neuron or a head; and families of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phlox.compress.structure._tracing import Index, Structure, structure_of
from phlox.core import Module, modules, state_dict
from phlox.nn import parameter_kinds

_MAKING = ("matrix", "kernel", "embedding")


@dataclass(frozen=True)
class Units:
    """Parts of a model that are alike, of which some can be removed: channels, neurons or heads.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense(4, 8, px.relu), px.Dense(8, 3))
    >>> px.compress.units(model, jnp.ones((1, 4)))
    [Units(layers.0: 8 of 8 numbers)]
    """

    layers: tuple[str, ...]
    """The paths of the layers whose outputs they are."""
    count: int
    """How many there are."""
    numbers: int
    """How many numbers of the model go with each."""
    sets: tuple[tuple[Index, ...], ...] = field(repr=False, compare=False)
    """For each, the indices of arrays that go with it."""

    def __repr__(self) -> str:
        return f"Units({', '.join(self.layers)}: {self.count} of {self.numbers:,} numbers)"


def units_of(model: Module, inputs: Sequence[Any]) -> tuple[list[Units], Structure]:
    """The families of a model, of two units or more each, and why other indices have to stay."""
    structure = structure_of(model, inputs)
    shapes = {path: array.shape for path, array in state_dict(model).items()}
    kinds = {path: found.kind for path, found in parameter_kinds(model).items()}
    families: dict[Any, list[tuple[Index, ...]]] = defaultdict(list)
    for one in structure.free:
        if len({index.path for index in one}) > 1:  # else nothing takes it up, or nothing makes it
            families[_form(one)].append(one)
    found = []
    for sets in families.values():
        made = {index.path for index in sets[0] if index.axis == len(shapes[index.path]) - 1}
        layers = tuple(path.rpartition(".")[0] for path in shapes if path in made and kinds.get(path) in _MAKING)
        if len(sets) > 1 and layers:
            found.append(Units(layers, len(sets), _numbers(sets[0], shapes), tuple(sets)))
    return found, structure


def _form(one: tuple[Index, ...]) -> Any:
    """What units of one family have in common: from which arrays, along which axes, how many indices."""
    counts: dict[tuple[str, int], int] = defaultdict(int)
    for index in one:
        counts[index.path, index.axis] += 1
    return tuple(counts.items())


def _numbers(one: tuple[Index, ...], shapes: dict[str, tuple[int, ...]]) -> int:
    """How many numbers go with a unit."""
    total = 0
    gone = by_array([one])
    for path in {path for path, _ in gone}:
        shape = shapes[path]
        left = [size - len(gone.get((path, axis), ())) for axis, size in enumerate(shape)]
        total += int(np.prod(shape)) - int(np.prod(left))
    return total


def by_array(sets: Sequence[tuple[Index, ...]]) -> dict[tuple[str, int], list[int]]:
    """The indices of some units, by array and axis, in order."""
    found: dict[tuple[str, int], set[int]] = defaultdict(set)
    for one in sets:
        for index in one:
            found[index.path, index.axis].add(index.at)
    return {key: sorted(indices) for key, indices in found.items()}


def names_of(family: Units, model: Module) -> list[str]:
    """The paths that mean a family: the layers whose outputs its units are, and parts that hold all of them."""
    inside = [f"{layer}." for layer in family.layers]
    holders = [
        path for path in modules(model)
        if path and path not in family.layers and all(layer.startswith(f"{path}.") for layer in inside)
    ]  # fmt: skip
    return [*family.layers, *holders]
