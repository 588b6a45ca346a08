"""Fully sharded data parallelism: each device holds a part of every weight, and of all that goes with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from phlox.core import Module, ShapeError, describe, owners
from phlox.nn import parameter_kinds
from phlox.parallel._strategy import AlongOneAxis, Cut, Place, check_size

WHOLE = 1024  # elements up to which an array stays whole: sending it costs more than holding it


@dataclass(frozen=True)
class FSDP(AlongOneAxis):
    """Each device holds a part of every weight, gradient and moment, and works on its part of each batch.

    Attributes:
        size: how many parts; -1 is as many as there are devices left.
        axis: the axis of the mesh.
        whole: elements up to which an array stays whole on every device; in a stack those of one layer count.
    """

    axis: str = "fsdp"
    whole: int = WHOLE

    @property
    def batch(self) -> tuple[str, ...]:
        return (self.axis,)

    def cut(self, place: Place, so_far: Cut, sizes: Mapping[str, int]) -> Cut:
        """Cut the longest axis that is whole and that the devices share evenly, one of layers in a stack last of all.

        A ``RepeatedLayer`` looks at one layer of its stack after the other: cut between them, all would be gathered.
        """
        parts, shape = sizes[self.axis], place.shape
        if math.prod(shape[place.stacked :]) <= self.whole or parts == 1:
            return so_far
        free = [at for at, cut in enumerate(so_far) if cut is None and shape[at] and shape[at] % parts == 0]
        if not free:
            return so_far
        longest = max(free, key=lambda at: (at >= place.stacked, shape[at], at))
        return (*so_far[:longest], self.axis, *so_far[longest + 1 :])

    def check(self, model: Module, sizes: Mapping[str, int]) -> None:
        """Refuse a model of which the larger part would lie whole."""
        kinds = parameter_kinds(model)
        own = {path: v.shape[kinds[path].stacked if path in kinds else 0 :] for path, v, _ in owners(model)}
        large = {path: v for path, v, _ in owners(model) if math.prod(own[path]) > self.whole}
        odd = {path: v for path, v in large.items() if all(n % sizes[self.axis] for n in v.shape)}
        if 2 * sum(v.size for v in odd.values()) <= sum(v.size for v in large.values()):
            return
        path, value = max(odd.items(), key=lambda item: item[1].size)
        raise ShapeError(
            f"a model most of whose arrays {sizes[self.axis]} devices share evenly along some axis",
            got=f"{describe(value)} at {path}, and {len(odd) - 1} more that they do not",
            fix=f"choose widths that are multiples of {sizes[self.axis]}, other numbers of devices, or data_parallel",
            where=repr(self),
        )

    def __repr__(self) -> str:
        return f"fsdp({'' if self.size == -1 else self.size})"


def fsdp(size: int = -1, *, axis: str = "fsdp", whole: int = WHOLE) -> FSDP:
    """Fully sharded data parallelism: weights, gradients and the optimiser's state in parts, one on each device.

    A layer's weights are gathered where it computes, in both directions, and dropped again; gradients are summed
    straight to the device that holds the part. Numbers are those of one device, to rounding.

    Arguments:
        size: how many parts; -1 is as many as there are devices left.
        axis: the name of its axis in the mesh.
        whole: elements up to which an array stays whole on every device; in a stack those of one layer count.

    Raises:
        RangeError: a size below 1 that is not -1.

    >>> from phlox.parallel import fsdp, data_parallel
    >>> fsdp(4) * data_parallel()
    fsdp(4) * data_parallel()

    Source: Rajbhandari et al., "ZeRO: memory optimizations toward training trillion parameter models", 2020.
    """
    check_size(size, "fsdp")
    return FSDP(size, axis, whole)
