"""Matching by name and shape, where nobody gave names: what is sure, what is likely, and what nobody can tell.

Layers are matched, not arrays: a layer there must hold all arrays of ours in fitting shapes, and no more. First those
of the same name. Then rows of equal layers (``blocks.0``, ``blocks.1``, …) with rows that are numbered alike. Then
single layers. A choice is made only where both sides have no second one as good.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from phlox.weights.matching._layouts import Layout, names_there
from phlox.weights.matching._leaves import Leaf
from phlox.weights.matching._names import slot_of
from phlox.weights.matching._slots import Slot

Shapes = Mapping[str, tuple[int, ...]]
_Row = Mapping[tuple[str, ...], str]  # layers by the numbers in their paths
_TREES = ("params", "batch_stats")  # of Flax: halves of the same layers
_COLLECTIONS = ("state_dict", "module", "layers", "_layer_checkpoint_dependencies")


class Guess(NamedTuple):
    """A slot that was chosen by name and shape."""

    slot: Slot
    why: str
    sure: bool


def guessed(leaves: list[Leaf], shapes: Shapes, layout: Layout) -> tuple[list[Guess], dict[str, list[str]]]:
    """The slots that can be told, and the candidates of every array that cannot be."""
    return _Matching(leaves, shapes, layout).run()


def layouts_of(names: Iterable[str]) -> list[str]:
    """The layouts whose vocabulary fits these names."""
    steps = [re.split(r"[./]", name.removesuffix(":0")) for name in names]
    ends = {s[-1] for s in steps} | {"/".join(s[-2:]) for s in steps}
    if ends & {"gamma", "moving_mean", "vars/0", "embeddings"}:
        return ["keras"]
    if ends & {"kernel", "embedding"}:
        return ["flax", "keras"]
    if ends & {"σ²", "μ", "γ", "Wi"}:
        return ["flux"]
    if ends & {"num_batches_tracked", "weight_ih_l0"}:
        return ["pytorch"]
    return ["pytorch", "phlox", "flux"]


class _Matching:
    """What is taken and what is left, while layers find each other."""

    def __init__(self, leaves: list[Leaf], shapes: Shapes, layout: Layout):
        self.shapes, self.layout = shapes, layout
        self.found: list[Guess] = []
        self.ours: dict[str, list[Leaf]] = {}
        for leaf in leaves:
            self.ours.setdefault(leaf.layer, []).append(leaf)
        self.theirs = _layers(shapes, {end for leaf in leaves for end in names_there(leaf, layout)}, set(self.ours))
        self.open, self.free = dict.fromkeys(self.ours), dict.fromkeys(self.theirs)

    def run(self) -> tuple[list[Guess], dict[str, list[str]]]:
        for path in list(self.open):
            if path in self.free and self._fits(path, path):
                self._take(path, path, "the same name", sure=True)
        self._take_rows()
        while self._take_singles():
            pass
        left = {
            leaf.path: [self._name(leaf, t) for t in self._candidates(path)]
            for path in self.open
            for leaf in self.ours[path]
        }
        return self.found, left

    def _take_rows(self) -> None:
        """Rows of layers with rows that are numbered alike and fit at every number."""
        ours, theirs = _rows(self.open), _rows(self.free)
        pairs = {a: [b for b in theirs if self._rows_fit(ours[a], theirs[b])] for a in ours}
        for a, b, many in _mutual(pairs):
            why = "a row that is numbered alike" + (", the closest name" if many else "")
            for at, path in ours[a].items():
                self._take(path, theirs[b][at], why, sure=not many)

    def _rows_fit(self, row: _Row, other: _Row) -> bool:
        return row.keys() == other.keys() and all(self._fits(path, other[at]) for at, path in row.items())

    def _take_singles(self) -> bool:
        pairs = {path: self._candidates(path) for path in self.open}
        chosen = list(_mutual(pairs))
        for a, b, many in chosen:
            self._take(a, b, "the closest name" if many else "the only one of this shape", sure=not many)
        return bool(chosen)

    def _candidates(self, path: str) -> list[str]:
        return [other for other in self.free if self._fits(path, other)]

    def _fits(self, path: str, other: str) -> bool:
        """True where a layer there holds all arrays of ours in fitting shapes, and no more."""
        names = [self._name(leaf, other) for leaf in self.ours[path]]
        if "" in names or {name for name in self.theirs[other].values() if not _is_count(name)} != set(names):
            return False
        return all(self._slot(leaf, other).fits(self.shapes[self._name(leaf, other)]) for leaf in self.ours[path])

    def _name(self, leaf: Leaf, other: str) -> str:
        """The full name of an array in a layer there, empty where there is none."""
        ends = self.theirs[other]
        return next((ends[end] for end in names_there(leaf, self.layout) if end in ends), "")

    def _slot(self, leaf: Leaf, other: str) -> Slot:
        return slot_of(leaf, (self._name(leaf, other),), self.layout, False)

    def _take(self, path: str, other: str, why: str, *, sure: bool) -> None:
        self.found += [Guess(self._slot(leaf, other), why, sure) for leaf in self.ours[path]]
        del self.open[path], self.free[other]


def _layers(shapes: Shapes, ends: set[str], ours: set[str]) -> dict[str, dict[str, str]]:
    """Full names by the end of each, by the path of the layer with dots.

    A path loses what libraries put before all names, where it is no path here and no other layer then has the same.
    """
    layers: dict[str, dict[str, str]] = {}
    for name in shapes:
        tokens = re.split(r"[./]", name.removesuffix(":0"))
        cut = 2 if "/".join(tokens[-2:]) in ends else 1
        first = 1 if len(tokens) > cut and tokens[0] in _TREES else 0
        layers.setdefault(".".join(tokens[first:-cut]), {})["/".join(tokens[-cut:])] = name
    short = {path: _without_collections(path) for path in layers}
    counts = Counter(short.values())
    return {path if path in ours or counts[short[path]] > 1 else short[path]: layers[path] for path in layers}


def _without_collections(path: str) -> str:
    tokens = path.split(".")
    while tokens and tokens[0] in _COLLECTIONS:
        tokens = tokens[1:]
    return ".".join(tokens)


def _is_count(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _rows(paths: Iterable[str]) -> dict[str, dict[tuple[str, ...], str]]:
    """Rows of at least two layers: by the path without its numbers, the paths by their numbers."""
    rows: dict[str, dict[tuple[str, ...], str]] = {}
    for path in paths:
        rows.setdefault(re.sub(r"\d+", "{}", path), {})[tuple(re.findall(r"\d+", path))] = path
    return {template: row for template, row in rows.items() if len(row) > 1}


def _mutual(pairs: Mapping[str, list[str]]) -> Iterable[tuple[str, str, bool]]:
    """Pairs of which each is the other's one best, and whether another one would have fitted."""
    back: dict[str, list[str]] = {}
    for a, others in pairs.items():
        for b in others:
            back.setdefault(b, []).append(a)
    for a, others in pairs.items():
        b = _best(a, others)
        if b is not None and _best(b, back[b]) == a:
            yield a, b, len(others) > 1 or len(back[b]) > 1


def _best(path: str, others: list[str]) -> str | None:
    """The one whose name is closest; None where two are as close, or none shares a word while there are several."""
    if len(others) < 2:
        return others[0] if others else None
    ranked = sorted(((_closeness(path, other), other) for other in others), reverse=True)
    return ranked[0][1] if ranked[0][0] > ranked[1][0] else None


def _closeness(a: str, b: str) -> float:
    """The share of words in which two paths agree."""
    words, others = _words(a), _words(b)
    return len(words & others) / max(len(words | others), 1)


def _words(path: str) -> set[str]:
    return set(re.findall(r"[a-zA-Z]+", path.lower().replace("_", ".")))
