"""Files of a smaller model beside the same files of the one that it was made of: what they take, and what is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phlox.core import Module, StructureError
from phlox.interchange._comparing import largest
from phlox.interchange._program import Program, Request
from phlox.interchange._proving import Truth
from phlox.interchange._report import Beside
from phlox.interchange._sizes import Sizes
from phlox.interchange.targets._target import Target
from phlox.weights import Example

Tried = Mapping[str, Sequence[Example]]


class Original:
    """The model that a smaller one was made of.

    Arguments:
        model: the original.
        requests: what is asked of it, as of the smaller one.
        sizes: what symbols may be.
        where: the function that speaks in errors.

    Raises:
        StructureError: it gives other outputs.
    """

    def __init__(self, model: Module, requests: Sequence[Request], sizes: Sizes, where: str):
        self.programs = [Program(model, request, sizes, where) for request in requests]
        self.truths = [Truth(model, request, where) for request in requests]
        self.where = where

    def beside(self, target: Target, smaller: Sequence[Program], tried: Tried, folder: Path) -> dict[str, Beside]:
        """How each file of the smaller model does, by signature."""
        with tempfile.TemporaryDirectory(prefix="phlox-original-") as place:  # its files are not kept
            target.write(self.programs, Path(place))
            sizes = {p.name: (Path(place) / target.file(p.name)).stat().st_size for p in self.programs}
        pairs = zip(smaller, self.truths, strict=True)
        return {p.name: self._one(target, p, truth, tried[p.name], folder, sizes[p.name]) for p, truth in pairs}

    def _one(
        self, target: Target, program: Program, truth: Truth, examples: Sequence[Example], folder: Path, size: int
    ) -> Beside:
        run = target.opened(program, folder)
        pairs = [(run(example.inputs), truth(example.inputs)) for example in examples]
        for ours, theirs in pairs:
            shapes = [{n: np.shape(x) for n, x in side.items()} for side in (ours, theirs)]
            if shapes[0] != shapes[1]:
                got, fix = f"{shapes[1]} beside {shapes[0]}", "pass the model that this one was made of"
                raise StructureError("an original with the same outputs", got=got, fix=fix, where=self.where)
        return Beside(size, max(largest(ours, theirs) for ours, theirs in pairs), _alike(pairs))


def _alike(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> float | None:
    name = next(iter(pairs[0][1]))
    rows = [[np.asarray(side[name]) for side in pair] for pair in pairs]
    if any(x.ndim < 2 or x.shape[-1] < 2 for pair in rows for x in pair):
        return None
    same = [(ours.argmax(-1) == theirs.argmax(-1)).reshape(-1) for ours, theirs in rows]
    return float(np.concatenate(same).mean())
