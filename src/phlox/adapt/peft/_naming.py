"""What a model's layers are called in PEFT's files: by its maps of names, or by their own paths."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from phlox.core import Module, copy, eval_shape, modules, replaced
from phlox.nn import Conv, Dense, Embedding
from phlox.weights import NameMap, Slot

PREFIX = "base_model.model."
_OWN_PATHS = NameMap({"": ""})


@dataclass(frozen=True)
class Piece:
    """One of our layers within one of theirs."""

    path: str
    layer: Any
    slot: Slot
    """Of its weight."""

    @property
    def size(self) -> int:
        """How many outputs it has."""
        return self.layer.weight.shape[-1]


@dataclass(frozen=True)
class Place:
    """A layer there: one of ours, or several whose outputs stand side by side."""

    name: str
    pieces: tuple[Piece, ...]

    @property
    def inputs_first(self) -> bool:
        """Whether its weight is (in, out) there, as that of a ``Conv1D`` is."""
        return isinstance(self.pieces[0].layer, Dense) and self.pieces[0].slot.axes == (0, 1)

    @property
    def outputs(self) -> int:
        """Of all pieces."""
        return sum(piece.size for piece in self.pieces)


def maps_of(model: Any) -> tuple[NameMap, ...]:
    """The maps that names of a model's layers may go by, the one that is written first.

    A model with a method ``names`` says them: a ``NameMap``, or several. Another one has its own paths.
    """
    said = getattr(model, "names", None)
    found = said() if callable(said) else None
    found = (found,) if isinstance(found, NameMap) else found
    named = isinstance(found, tuple) and bool(found) and all(isinstance(one, NameMap) for one in found)
    return found if named else (_OWN_PATHS,)  # pyright: ignore[reportReturnType]


def slots_of(names: NameMap, model: Module, known: Collection[str] = ()) -> list[Slot]:
    """Where arrays of a model without adapters are there; of a layer that computes its weight, where that is."""
    return names.slots(_with_weights(model), known)[0]


def _with_weights(model: Module) -> Module:
    """A model as it is where every layer holds its weight, such as one of integers; shapes in the place of arrays."""
    if not any(_computes(layer) for layer in modules(model).values()):
        return model

    def plain(model: Module) -> Module:
        computing: dict[int, Any] = {id(one): one for one in modules(model).values() if _computes(one)}
        return replaced(model, {at: one.plain() for at, one in computing.items()}, "px.adapt")

    return eval_shape(lambda model: plain(copy(model)), model)


def _computes(layer: Any) -> bool:
    """Whether a layer says itself what it is with a weight of floats: it has a method ``plain``."""
    return callable(getattr(type(layer), "plain", None))


def places_of(model: Module, slots: Iterable[Slot]) -> dict[str, Place]:
    """The layers that adapters can stand in, by their names there; of a model without adapters."""
    layers, found = modules(model), {}
    for slot in slots:
        path, _, end = slot.ours.rpartition(".")
        layer = layers.get(path)
        if end == "weight" and isinstance(layer, Dense | Conv | Embedding) and _whole(layer, slot):
            name = slot.theirs[0].removesuffix("weight").removesuffix(".")
            found.setdefault(name, []).append(Piece(path, layer, slot))
    return {
        name: Place(name, tuple(sorted(pieces, key=lambda piece: piece.slot.start))) for name, pieces in found.items()
    }


def _whole(layer: Any, slot: Slot) -> bool:
    """Whether it is one layer there, or a part of one that is fused along its outputs."""
    outputs = 1 if slot.axes == (0, 1) else 0
    fits = not slot.whole or (isinstance(layer, Dense) and slot.along == outputs)
    return fits and not slot.stacked and not slot.lead and slot.theirs[0].endswith("weight")


def shortest(targets: Collection[str], known: Iterable[str]) -> list[str]:
    """The ends of names that mean these targets and no other layer, as few and as short as may be."""
    others, found = [name for name in known if name not in targets], set()
    for name in targets:
        steps = name.split(".")
        ends = [".".join(steps[-n:]) for n in range(1, len(steps) + 1)]
        found.add(next((end for end in ends if not any(f".{one}".endswith(f".{end}") for one in others)), name))
    return sorted(found)
