"""Arrays whose axes lie in memory in another order than the file has them: channels last, where convolutions want them.

The file's order is what operators mean by an axis. Convolutions and pools give what they compute as it lies, arithmetic
goes on in that order, and whoever knows nothing of it gets a plain array. So of a whole network one transpose is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phlox.interchange.onnx_reading._known import library


@dataclass(frozen=True, eq=False)
class Laid:
    """A value whose axis ``order[i]`` is axis ``i`` of the array."""

    array: Any
    order: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes in the file's order."""
        return tuple(self.array.shape[i] for i in np.argsort(self.order))

    @property
    def ndim(self) -> int:
        """How many axes."""
        return len(self.order)

    @property
    def dtype(self) -> Any:
        """As the array's."""
        return self.array.dtype


def last(rank: int) -> tuple[int, ...]:
    """The order of an array with its channels last.

    >>> last(4)
    (0, 2, 3, 1)
    """
    return (0, *range(2, rank), 1)


def kernel(rank: int, transposed: bool = False) -> tuple[int, ...]:
    """The order of a kernel in Phlox: space, in, out, which files of ONNX have from behind.

    >>> kernel(4), kernel(4, transposed=True)
    ((2, 3, 1, 0), (2, 3, 0, 1))
    """
    return (*range(2, rank), *((0, 1) if transposed else (1, 0)))


def plain(x: Any) -> Any:
    """A value in the file's order."""
    return ordered(x, range(x.ndim)) if isinstance(x, Laid) else x


def ordered(x: Any, order: Sequence[int]) -> Any:
    """The array of a value whose axes lie in this order."""
    now = order_of(x)
    array = x.array if isinstance(x, Laid) else x
    turn = [now.index(axis) for axis in order]
    return array if turn == list(range(len(turn))) else library(array).transpose(array, turn)


def order_of(x: Any) -> tuple[int, ...]:
    """How the axes of a value lie."""
    return x.order if isinstance(x, Laid) else tuple(range(np.ndim(x)))


def laid(array: Any, order: Sequence[int]) -> Any:
    """An array as a value, a plain one where its axes lie as the file has them."""
    return array if list(order) == sorted(order) else Laid(array, tuple(order))


def aligned(xs: Sequence[Any]) -> tuple[list[Any], tuple[int, ...]]:
    """Arrays that lie alike, so that arithmetic can be done on them, and the order of their axes.

    >>> arrays, order = aligned([Laid(np.ones((2, 5, 3)), (0, 2, 1)), np.ones((3, 1))])
    >>> [a.shape for a in arrays], order
    ([(2, 5, 3), (1, 1, 3)], (0, 2, 1))
    """
    order = next((x.order for x in xs if isinstance(x, Laid)), ())
    rank = len(order)
    if not order or any(np.ndim(x) > rank for x in xs if x is not None):
        return [plain(x) for x in xs], ()
    return [x if x is None or not np.ndim(x) else ordered(_of_rank(x, rank), order) for x in xs], order


def _of_rank(x: Any, rank: int) -> Any:
    """With so many axes, those that are missing in front."""
    return x if x.ndim == rank else plain(x).reshape((1,) * (rank - x.ndim) + x.shape)
