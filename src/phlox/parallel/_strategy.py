"""Strategies: how a model, its optimiser and its batches are spread, as values that multiply.

A strategy says by which axes of a mesh it goes, how arrays are cut along them, and what layers compute in another way
meanwhile. It holds no device and no model; ``phlox.parallel._placement`` brings the three together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jax.sharding import Mesh

from phlox.core import Module, RangeError

Cut = tuple[str | tuple[str, ...] | None, ...]
"""For each axis of an array, the axes of the mesh that it is cut along: what ``PartitionSpec`` takes."""

ORDER = ("stage", "data", "fsdp", "expert", "context", "tensor")  # of axes in a mesh: what talks most stands last


@dataclass(frozen=True)
class Place:
    """An array of a model, and where it stands."""

    path: str
    shape: tuple[int, ...]
    dtype: Any
    owners: tuple[tuple[Module, str], ...]  # from the root down to the layer that has it, each with the attribute
    stacked: int = 0  # axes in front of those of one layer, as a ``RepeatedLayer`` puts them there

    @property
    def layer(self) -> Module:
        """The layer that has it."""
        return self.owners[-1][0]


class Strategy:
    """How a training is spread over devices: ``fsdp() * tensor_parallel(4)``.

    Pass one as ``px.fit(…, parallel=)``, or bring it together with a mesh by ``px.parallel.Placement.of``.
    """

    @property
    def axes(self) -> Mapping[str, int]:
        """The axes of the mesh that it needs, and how many devices along each; -1 is all that are left."""
        raise NotImplementedError

    @property
    def batch(self) -> tuple[str, ...]:
        """The axes that the first axis of a batch is cut along."""
        return ()

    @property
    def sequence(self) -> tuple[str, ...]:
        """The axes that the second axis of a batch, time, is cut along."""
        return ()

    @property
    def keeps_whole(self) -> bool:
        """Whether every device holds every array of a model."""
        return False

    @property
    def devices(self) -> tuple[Any, ...] | None:
        """The devices that it was given; None is all."""
        return None

    def cut(self, place: Place, so_far: Cut, sizes: Mapping[str, int]) -> Cut:
        """How an array is cut, given how the strategies before this one cut it.

        Arguments:
            so_far: an entry for each axis of the array.
            sizes: devices along each axis of the mesh.
        """
        del place, sizes
        return so_far

    def ways(self, mesh: Mesh) -> Mapping[str, Callable[..., Any]]:
        """What layers compute in another way in a step, by the names that they ask for: see ``phlox.core.way``."""
        del mesh
        return {}

    def within(self, whole: Strategy) -> Strategy:
        """The same as a part of a product, for what depends on the other parts."""
        del whole
        return self

    def check(self, model: Module, sizes: Mapping[str, int]) -> None:
        """Refuse a model that it cannot spread, with the cure; nothing by default."""
        del model, sizes

    @property
    def parts(self) -> tuple[Strategy, ...]:
        """The strategies of which this is the product."""
        return (self,)

    def __mul__(self, other: Strategy) -> Strategy:
        if not isinstance(other, Strategy):
            return NotImplemented
        return product(*self.parts, *other.parts)


@dataclass(frozen=True)
class AlongOneAxis(Strategy):
    """A strategy that goes by one axis of the mesh.

    Attributes:
        size: how many parts; -1 is as many as there are devices left.
        axis: the axis of the mesh.
    """

    size: int = -1
    axis: str = ""

    @property
    def axes(self) -> Mapping[str, int]:
        return {self.axis: self.size}


def check_size(size: Any, where: str, fix: str = "leave it out") -> None:
    """Refuse what is no number of devices.

    Raises:
        RangeError: a size below 1 that is not -1.
    """
    if not isinstance(size, int) or isinstance(size, bool) or (size < 1 and size != -1):
        raise RangeError("a number of devices, or -1 for all that are left", got=repr(size), fix=fix, where=where)


@dataclass(frozen=True)
class Product(Strategy):
    """Several strategies at once, each along axes of its own."""

    factors: tuple[Strategy, ...]

    @property
    def parts(self) -> tuple[Strategy, ...]:
        return self.factors

    @property
    def axes(self) -> Mapping[str, int]:
        found = {name: size for part in self.factors for name, size in part.axes.items()}
        return dict(sorted(found.items(), key=lambda item: _rank(item[0])))

    @property
    def batch(self) -> tuple[str, ...]:
        return tuple(sorted(dict.fromkeys(name for part in self.factors for name in part.batch), key=_rank))

    @property
    def sequence(self) -> tuple[str, ...]:
        return tuple(name for part in self.factors for name in part.sequence)

    @property
    def keeps_whole(self) -> bool:
        return all(part.keeps_whole for part in self.factors)

    @property
    def devices(self) -> tuple[Any, ...] | None:
        return next((part.devices for part in self.factors if part.devices is not None), None)

    def cut(self, place: Place, so_far: Cut, sizes: Mapping[str, int]) -> Cut:
        for part in sorted(self.factors, key=lambda part: _FIRST.get(type(part).__name__, 1)):
            so_far = part.cut(place, so_far, sizes)
        return so_far

    def ways(self, mesh: Mesh) -> Mapping[str, Callable[..., Any]]:
        return {name: found for part in self.factors for name, found in part.within(self).ways(mesh).items()}

    def check(self, model: Module, sizes: Mapping[str, int]) -> None:
        for part in self.factors:
            part.check(model, sizes)

    def __repr__(self) -> str:
        return " * ".join(map(repr, self.factors))


_FIRST = {"Pipeline": 0, "FSDP": 2}  # stages are cut before all else; fsdp takes of what the others left


def product(*parts: Strategy) -> Strategy:
    """Strategies at once.

    Raises:
        RangeError: two along one axis, or two that take all devices that are left.
    """
    names = [name for part in parts for name in part.axes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        fix = 'give one of them another axis, as in fsdp(axis="shards")'
        raise RangeError("an axis of its own for each", got=f"two along {twice[0]!r}", fix=fix, where="px.parallel")
    open_ = [name for part in parts for name, size in part.axes.items() if size == -1]
    if len(open_) > 1:
        fix = f"say how many devices {open_[0]!r} has, as in data_parallel(2)"
        got = f"{' and '.join(map(repr, open_))} without a number"
        raise RangeError("one that takes the devices that are left", got=got, fix=fix, where="px.parallel")
    return parts[0] if len(parts) == 1 else Product(parts)


def _rank(axis: str) -> int:
    return ORDER.index(axis) if axis in ORDER else ORDER.index("data")
