"""A family's names of weights: one declarative map, read both ways."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from phlox.core import Module, StructureError
from phlox.weights._whole import whole
from phlox.weights.matching._layouts import Axes, Layout, axes_there, is_flipped, layout_named, names_there
from phlox.weights.matching._leaves import Leaf, leaves_of
from phlox.weights.matching._slots import Slot


@dataclass(frozen=True)
class Array:
    """One array of a model in a ``NameMap``, where its form there is not what its layer says.

    Arguments:
        path: the path here.
        axes: which of our axes stands at each place there; None for the order that the layer's class has there.
        lead, trail: how many axes of size one stand in front there, and behind: 2 for a ``Dense`` that is a convolution
            of single pixels there.
        along: the axis there along which it is fused with others, where it is.
    """

    path: str
    axes: Axes | None = None
    lead: int = 0
    trail: int = 0
    along: int = 0


Ours = str | Array | tuple[str | Array, ...]
"""A path, one with its form, or several that are fused there."""


class NameMap:
    """Names of weights in another library's files and paths in a model, both ways.

    An entry names a layer, or anything above or below it: ``"encoder.layer.{i}.norm1": "blocks.{i}.norm"`` holds for
    all arrays below, which are called and laid out there as the class of the layer that owns them has it. ``{i}``
    stands for one step of a path. Of several entries the one with the longest path here counts.

    A tuple of paths means that the arrays there are fused, one after the other along the first axis there, as queries,
    keys and values often are; ``Array(path, along=1)`` for each of them is another axis. A ``{i}`` there that is
    missing here means that equal layers are stacked here.

    Arguments:
        entries: by name there, the path here.
        layout: whose names and order of axes: ``"pytorch"``, ``"keras"``, ``"flax"``, ``"flux"``, ``"phlox"``.
        ignore: patterns of names there that mean nothing here, with ``*`` for any characters.

    Raises:
        RangeError: a layout that is not known.

    >>> import phlox as px
    >>> model = px.Chain(px.Dense(3, 2), px.LayerNorm(2))
    >>> names = px.weights.NameMap({"fc": "layers.0", "norm": "layers.1"})
    >>> {name: array.shape for name, array in names.to_theirs(model).items()}
    {'fc.weight': (2, 3), 'fc.bias': (2,), 'norm.weight': (2,), 'norm.bias': (2,)}
    """

    layout_name: str
    layout: Layout
    ignore: Any
    entries: dict[str, Ours]

    def __init__(self, entries: Mapping[str, Ours], *, layout: str = "pytorch", ignore: Iterable[str] = ()):
        self.layout_name, self.layout = layout, layout_named(layout, "px.weights.NameMap")
        self.ignore = (*ignore, "*num_batches_tracked") if layout == "pytorch" else tuple(ignore)
        self.entries = dict(entries)
        self._entries = [entry for theirs, ours in entries.items() for entry in _entries(theirs, ours)]

    def below(self, base: str) -> NameMap:
        """The map for files whose names lack what stands before those of the trunk here.

        >>> import phlox as px
        >>> names = px.weights.NameMap({"vit.norm": "norm", "classifier": "head"}).below("vit.")
        >>> list(names.entries)
        ['norm', 'classifier']
        """
        entries = {name.removeprefix(base): ours for name, ours in self.entries.items()}
        return NameMap(entries, layout=self.layout_name, ignore=[p.removeprefix(base) for p in self.ignore])

    def slots(self, model: Module, known: Collection[str] = ()) -> tuple[list[Slot], list[str]]:
        """Where each array of a model is there, by names that are known, and the paths of those without an entry."""
        leaves = {leaf.path: leaf for leaf in leaves_of(model)}
        found, nameless = [], []
        for leaf in leaves.values():
            matches = [m for entry in self._entries if (m := entry.match(leaf.path)) is not None]
            if matches:
                found.append(self._slot(leaf, max(matches, key=lambda m: m.length), leaves, known))
            else:
                nameless.append(leaf.path)
        return found, nameless

    def to_theirs(self, model: Module) -> dict[str, Any]:
        """The arrays of a model under their names, in their layout.

        Raises:
            StructureError: an array of the model that no entry names.
        """
        slots = self._all_slots(model)
        values = {leaf.path: leaf.value for leaf in leaves_of(model)}
        return {**written(slots, values), **self._counts(slots, model)}

    def streamed(self, model: Module) -> tuple[dict[str, Any], Iterator[tuple[str, Any]]]:
        """As ``to_theirs``, an array after the other: their shapes and dtypes by name, and the arrays as they come.

        Of a model that several processes hold in parts, each array is brought together, in all of them, when it is its
        turn, and with it only what stands in one array with it there.

        Raises:
            StructureError: as ``to_theirs``.
        """
        slots = self._all_slots(model)
        values = {leaf.path: leaf.value for leaf in leaves_of(model)}
        clusters, counts = _together(slots), self._counts(slots, model)

        def coming(arrays: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
            for cluster in clusters:
                yield from written(cluster, {slot.ours: whole(arrays[slot.ours]) for slot in cluster}).items()
            yield from counts.items()

        empty = {path: np.broadcast_to(np.zeros((), v.dtype), v.shape) for path, v in values.items()}
        return {name: (array.shape, np.dtype(array.dtype)) for name, array in coming(empty)}, coming(values)

    def _all_slots(self, model: Module) -> list[Slot]:
        slots, nameless = self.slots(model)
        if nameless:
            raise StructureError(
                "a name there for every array of the model", got="none for " + ", ".join(nameless[:12]),
                fix="add entries for them", where="px.weights.NameMap",
            )  # fmt: skip
        return slots

    def _counts(self, slots: Iterable[Slot], model: Module) -> dict[str, Any]:
        """The counts of batches that PyTorch keeps beside statistics that move, and asks for when it loads."""
        if self.layout_name != "pytorch":
            return {}
        moving = {leaf.path for leaf in leaves_of(model) if hasattr(leaf.owner, "momentum")}
        names = [name for slot in slots if slot.ours in moving for name in slot.theirs]
        means = [name for name in names if name.rpartition(".")[2] == "running_mean"]
        return {name.removesuffix("running_mean") + "num_batches_tracked": np.zeros((), np.int64) for name in means}

    def ignores(self, name: str) -> bool:
        """True where a name there means nothing here."""
        return any(_glob(pattern).fullmatch(name) for pattern in self.ignore)

    def _slot(self, leaf: Leaf, match: _Match, leaves: Mapping[str, Leaf], known: Collection[str]) -> Slot:
        name, whole = match.entry.theirs.format_map(_Kept(match.steps)), not match.rest
        if not whole:
            name = self._below(leaf, name, match.rest, known)
        apart = leaf.stacked == 1 and "{i}" in name
        names = tuple(name.replace("{i}", str(i)) for i in range(leaf.value.shape[0])) if apart else (name,)
        slot = slot_of(leaf, names, self.layout, apart)
        if whole:
            slot = _formed(slot, match.entry.ours)
        return self._in_fused(slot, match, leaves) if match.entry.fused else slot

    def _below(self, leaf: Leaf, name: str, rest: str, known: Collection[str]) -> str:
        """The full name of an array below what an entry names: of several that it may have, one that is known."""
        step = self.layout.separator
        inner = [part for part in rest[: len(rest) - len(leaf.name)].split(".") if part]
        full = [step.join(filter(None, (name, *inner, end))) for end in names_there(leaf, self.layout)]
        return next((n for n in [*full, *(f"{n}:0" for n in full)] if n.replace("{i}", "0") in known), full[0])

    def _in_fused(self, slot: Slot, match: _Match, leaves: Mapping[str, Leaf]) -> Slot:
        """The slot with its place in the fused array: behind the parts that are named before it."""
        paths = [one.path.format_map(_Kept(match.steps)) + match.rest for one in match.entry.fused]
        forms = [Array("") if match.rest else one for one in match.entry.fused]
        sizes = [self._length(leaves.get(p), form, slot.along) for p, form in zip(paths, forms, strict=True)]
        return replace(slot, start=sum(sizes[: paths.index(slot.ours)]), whole=sum(sizes))

    def _length(self, leaf: Leaf | None, form: Array, along: int) -> int:
        """How long an array is there along an axis; 0 where the model has none."""
        return 0 if leaf is None else _formed(slot_of(leaf, ("",), self.layout, False), form).shape_there[along]


class _Kept(dict[str, str]):
    """Steps of a path by the name of their place; a place that has none stays as it is written."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


@dataclass(frozen=True)
class _Entry:
    theirs: str
    ours: Array
    fused: tuple[Array, ...] = ()
    """Where arrays are fused there, all of them, in order."""

    def match(self, path: str) -> _Match | None:
        """How an array's path is meant by this entry, if it is."""
        found = _template(self.ours.path).match(path)
        return None if found is None else _Match(self, found.groupdict(), path[found.end() :], found.end())


@dataclass(frozen=True)
class _Match:
    entry: _Entry
    steps: dict[str, str]
    rest: str
    length: int


def slot_of(leaf: Leaf, names: tuple[str, ...], layout: Layout, apart: bool) -> Slot:
    """The place of an array that has these names there, laid out as its layer is there."""
    flip = len(leaf.shape) - 2 if is_flipped(leaf, layout) else 0
    stacked = tuple(leaf.value.shape[: leaf.stacked])
    return Slot(leaf.path, names, leaf.shape, axes_there(leaf, layout), flip, stacked=stacked, apart=apart)


def _formed(slot: Slot, given: Array) -> Slot:
    """The same place in the form that an entry gives the array."""
    return replace(slot, axes=given.axes or slot.axes, lead=given.lead, trail=given.trail, along=given.along)


def _together(slots: Iterable[Slot]) -> list[list[Slot]]:
    """Slots in groups that have no name there in common."""
    group_of: dict[str, list[Slot]] = {}
    for slot in slots:
        met = {id(group_of[name]): group_of[name] for name in slot.theirs if name in group_of}
        merged = [*(other for group in met.values() for other in group), slot]
        group_of |= {name: merged for other in merged for name in other.theirs}
    return list({id(group): group for group in group_of.values()}.values())


def written(slots: Iterable[Slot], values: Mapping[str, Any]) -> dict[str, Any]:
    """Their arrays by name, fused ones put together.

    Arguments:
        values: the model's arrays by path.

    Raises:
        StructureError: two arrays of the model under one name, that are no parts of one.
    """
    pieces: dict[str, list[tuple[Slot, Any]]] = {}
    for slot in slots:
        for name, array in slot.write(values[slot.ours]).items():
            pieces.setdefault(name, []).append((slot, array))
    return {name: _joined(name, parts) for name, parts in pieces.items()}


def _joined(name: str, parts: list[tuple[Slot, Any]]) -> Any:
    if len(parts) > 1 and not all(slot.whole for slot, _ in parts):
        raise StructureError(
            "a name of its own for every array", got=f"{name} for {' and '.join(slot.ours for slot, _ in parts)}",
            fix="give the entry a {i} on both sides, or a tuple of paths that are fused", where="px.weights.NameMap",
        )  # fmt: skip
    ordered = [array for _, array in sorted(parts, key=lambda part: part[0].start)]
    return ordered[0] if len(ordered) == 1 else np.concatenate(ordered, parts[0][0].along)


def _entries(theirs: str, ours: Ours) -> list[_Entry]:
    if isinstance(ours, tuple):
        fused = tuple(map(_array, ours))
        return [_Entry(theirs, one, fused) for one in fused]
    return [_Entry(theirs, _array(ours))]


def _array(ours: str | Array) -> Array:
    return Array(ours) if isinstance(ours, str) else ours


@lru_cache(maxsize=4096)
def _template(path: str) -> re.Pattern[str]:
    """A path with places as a pattern that means it and all below."""
    if not path:
        return re.compile("")
    seen: set[str] = set()

    def place(match: re.Match[str]) -> str:
        name = match[1]
        again = name in seen
        seen.add(name)
        return f"(?P={name})" if again else f"(?P<{name}>[^.]+)"

    text = re.sub(r"\\\{(\w+)\\\}", place, re.escape(path))
    return re.compile(text + r"(?=\.|$)")


@lru_cache(maxsize=256)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")))
