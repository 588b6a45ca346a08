"""Tensor parallelism: each device computes a part of the features of every layer, of the whole batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from phlox.core import Module, RangeError, modules, owners
from phlox.parallel._strategy import AlongOneAxis, Cut, Place, check_size
from phlox.parallel.tables._choice import counted, cut_by, cut_of, fits
from phlox.parallel.tables._parts import Part, part_of


@dataclass(frozen=True)
class TensorParallel(AlongOneAxis):
    """Each device holds a part of every large weight and computes a part of the features, of the whole batch.

    Attributes:
        size: how many parts; -1 is as many as there are devices left.
        axis: the axis of the mesh.
        rules: by pattern of paths, how arrays are cut in place of what the table says; the first that matches.
    """

    axis: str = "tensor"
    rules: tuple[tuple[str, Part], ...] = ()

    def cut(self, place: Place, so_far: Cut, sizes: Mapping[str, int]) -> Cut:
        """Cut the axes of a map's outputs or inputs, as rules and the table say, where the devices share them."""
        parts = sizes[self.axis]
        mine = self._mine(place, parts)
        if parts == 1 or not fits(mine, place.shape, parts):
            return so_far
        front = len(so_far) - len(mine)
        both = zip(so_far[front:], mine, strict=True)
        return (*so_far[:front], *(was or (self.axis if name else None) for was, name in both))

    def _mine(self, place: Place, parts: int) -> Cut:
        rule = self._rule(place.path)
        return cut_of(place, parts) if rule is None else cut_by(rule.how, place)

    def _rule(self, path: str) -> Part | None:
        return next((part for pattern, part in self.rules if fnmatchcase(path, pattern)), None)

    def check(self, model: Module, sizes: Mapping[str, int]) -> None:
        """Refuse rules that mean no array, or one that cannot be cut so, and a number of devices that fits no head.

        Raises:
            RangeError: any of these.
        """
        parts = sizes[self.axis]
        arrays = {path: value for path, value, _ in owners(model)}
        for pattern, part in self.rules:
            found = {path: value for path, value in arrays.items() if fnmatchcase(path, pattern)}
            self._check_rule(pattern, part, found, parts)
        self._check_heads(model, parts)

    def _check_rule(self, pattern: str, part: Part, found: Mapping[str, Any], parts: int) -> None:
        where = f"tensor_parallel(rules={{{pattern!r}: …}})"
        if not found:
            fix = "print px.paths(model); * stands for any characters"
            raise RangeError("a pattern of paths", got="one that no array has", fix=fix, where=where)
        if isinstance(part.how, str):
            return
        wrong = [(p, v) for p, v in found.items() if any(part.how) and not fits(part.how, v.shape, parts)]
        if wrong:
            got, fix = f"{wrong[0][0]} {wrong[0][1].shape}", "cut another axis, or leave it whole: None"
            raise RangeError(f"axes that {parts} devices share evenly", got=got, fix=fix, where=where)

    def _check_heads(self, model: Module, parts: int) -> None:
        """A number that divides the heads of no layer leaves all attention whole: hardly what was meant."""
        heads = {path: count for path, layer in modules(model).items() if (count := counted(layer)) is not None}
        if not heads or any(count % parts == 0 for count in heads.values()):
            return
        path, count = next(iter(heads.items()))
        if any(fnmatchcase(f"{path}.q_proj.weight", pattern) for pattern, _ in self.rules):
            return
        even = ", ".join(str(n) for n in range(1, count + 1) if count % n == 0)
        raise RangeError(
            f"heads that {parts} devices share evenly", got=f"{count} at {path or 'the model'}",
            fix=f'choose among {even}, or leave attention whole: rules={{"*{path.rpartition(".")[2]}.*": None}}',
            where=repr(self),
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"tensor_parallel({self.size})"


def tensor_parallel(size: int, *, axis: str = "tensor", rules: Mapping[str, Any] | None = None) -> TensorParallel:
    """Tensor parallelism: each device holds a part of every large weight and computes a part of the features.

    Maps are cut in pairs, the first by its outputs, the second by its inputs: queries, keys and values by heads, then
    the map behind attention; the two or three of a feed-forward block. So a block sums twice over the devices, and
    twice more for the gradient; nothing else is sent. Vocabularies are cut by words. Numbers are those of one device,
    to rounding. ``px.parallel.tensor_rules()`` prints which part of which layer is cut how, and says how a class of
    your own joins in.

    Arguments:
        size: how many parts; -1 is as many as there are devices left. Devices that are linked best: they talk in every
            layer.
        axis: the name of its axis in the mesh.
        rules: by pattern of paths, what holds in place of the table: the cut of an array's last axes, as in
            ``{"*.my_proj.weight": (None, "tensor")}``; ``"column"`` or ``"row"`` of a map with its bias, as in
            ``{"*.fc1.*": "column"}``; None for whole. The first pattern that matches counts.

    Raises:
        RangeError: a size below 1 that is not -1, or a rule that says no cut. When a model is placed: a rule that no
            array matches or that cannot be cut so, and a size that divides no number of heads.

    Source: Shoeybi et al., "Megatron-LM: training multi-billion parameter language models using model parallelism",
    2019.

    >>> from phlox.parallel import fsdp, tensor_parallel
    >>> fsdp(4) * tensor_parallel(2)
    fsdp(4) * tensor_parallel(2)
    """
    check_size(size, "tensor_parallel", "give a divisor of the heads")
    where, given = "tensor_parallel(rules=)", dict(rules or {})
    return TensorParallel(size, axis, tuple((str(path), part_of(said, where, axis)) for path, said in given.items()))
