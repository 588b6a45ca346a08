"""Which requests may share a batch: rows put together, filled up to a size that is compiled, and taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phlox.core import RangeError, describe
from phlox.serving._errors import ModelFailedError
from phlox.serving.engine._servable import Arrays
from phlox.weights import Signature


def batch_symbol(signature: Signature) -> str | None:
    """The symbol that is the first size of every input and output, and stands nowhere else; None where none is.

    >>> from phlox.weights import BundleArray as A
    >>> batch_symbol(Signature((A("x", ("batch", 4), "float32"),), (A("y", ("batch",), "float32"),)))
    'batch'
    >>> batch_symbol(Signature((A("x", ("n", "n"), "float32"),), (A("y", ("n",), "float32"),)))
    """
    shapes = [x.shape for x in (*signature.inputs, *signature.outputs)]
    firsts = {shape[0] if shape else None for shape in shapes}
    if not shapes or len(firsts) != 1:
        return None
    [first] = firsts
    return first if isinstance(first, str) and not any(first in shape[1:] for shape in shapes) else None


@dataclass(frozen=True)
class Rows:
    """How the rows of a signature are batched.

    Arguments:
        least, most: how many rows one call takes.
    """

    least: int
    most: int

    @classmethod
    def of(cls, signature: Signature, most: int) -> Rows | None:
        """Of a signature, at most so many at once; None where its requests run one by one."""
        symbol = batch_symbol(signature)
        if symbol is None:
            return None
        low, high = signature.sizes.get(symbol, (1, most))
        return cls(low, max(low, min(most, high)))

    def padded(self, n: int) -> int:
        """The size that so many rows are filled up to: the next power of two within the bounds.

        >>> [Rows(1, 48).padded(n) for n in (1, 3, 32, 33)]
        [1, 4, 32, 48]
        """
        return max(self.least, min(1 << (n - 1).bit_length(), self.most))

    def sizes(self) -> list[int]:
        """All sizes that ``padded`` gives."""
        return sorted({self.padded(n) for n in (*(1 << i for i in range(self.most.bit_length())), self.most)})

    def parts(self, n: int) -> list[tuple[int, int]]:
        """Where rows beyond the most of one call are cut."""
        return [(start, min(start + self.most, n)) for start in range(0, n, self.most)]


def count_rows(inputs: Arrays, where: str) -> int:
    """How many rows arrays have.

    Raises:
        RangeError: none, or not the same number in all.
    """
    counts = {x.shape[0] if x.ndim else 0 for x in inputs.values()}
    if len(counts) != 1 or 0 in counts:
        got = ", ".join(f"{name} {describe(x)}" for name, x in inputs.items())
        fix = "give as many rows of each input, and one at least"
        raise RangeError("the same number of rows in all inputs", got=got, fix=fix, where=where)
    return counts.pop()


def bucket_of(inputs: Arrays) -> tuple[Any, ...]:
    """What requests must share to stand in one batch: dtypes, and the sizes behind the first."""
    return tuple((name, x.dtype.char, x.shape[1:]) for name, x in inputs.items())


def together(several: Sequence[Arrays], rows: int, size: int) -> dict[str, np.ndarray]:
    """The rows of several requests one after the other, the last one repeated up to ``size``."""
    first = several[0]
    if len(several) == 1 and rows == size:
        return dict(first)
    made = {}
    for name, x in first.items():
        whole = np.empty((size, *x.shape[1:]), x.dtype)
        at = 0
        for one in several:
            part = one[name]
            whole[at : at + len(part)] = part
            at += len(part)
        if at < size:
            whole[at:] = whole[at - 1]
        made[name] = whole
    return made


def apart(outputs: Arrays, counts: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """The rows of each request."""
    found, at = [], 0
    for n in counts:
        found.append({name: y[at : at + n] for name, y in outputs.items()})
        at += n
    return found


def check_outputs(outputs: Mapping[str, Any], names: Sequence[str], rows: int, where: str) -> dict[str, np.ndarray]:
    """Outputs as arrays with at least so many rows.

    Raises:
        ModelFailedError: one is missing, or has other rows: nothing says which request they are of.
    """
    found = {name: np.asarray(outputs[name]) for name in names if name in outputs}
    if len(found) < len(names) or any(y.ndim < 1 or len(y) != rows for y in found.values()):
        got = ", ".join(f"{name} {describe(y)}" for name, y in found.items()) or "none"
        fix = "give one row of each output for each row of the inputs, or other symbols for sizes that differ"
        raise ModelFailedError(f"outputs {', '.join(names)} of {rows} rows", got=got, fix=fix, where=where)
    return found
