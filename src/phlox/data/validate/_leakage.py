"""px.data.validate.leakage: rows of the test data that are in the training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phlox.core import RangeError, ShapeError, StructureError, describe
from phlox.data.validate._chunks import Chunk, chunks_of, names_of
from phlox.data.validate._statistics import hashes_of

_BLOCK = 1 << 22  # products that are held at once


@dataclass(frozen=True)
class Leakage:
    """Rows of one set of data that are in another; true where there are some.

    Attributes:
        pairs: (found, 2) the row in the training data, the first one that is alike, and the row in the test data.
        likeness: (found,) 1 of the same rows; the cosine of those that are only near.
        rows: of both sets.
    """

    pairs: np.ndarray
    likeness: np.ndarray
    rows: tuple[int, int]

    @property
    def share(self) -> float:
        """Of the test data."""
        return len(self.pairs) / self.rows[1]

    def __bool__(self) -> bool:
        return len(self.pairs) > 0

    def __str__(self) -> str:
        near = int((self.likeness < 1).sum())
        told = f"{len(self.pairs):,} of {self.rows[1]:,} test rows ({self.share:.1%}) are among "
        told += f"{self.rows[0]:,} of training" + (f", {near:,} of them nearly" if near else "")
        some = ", ".join(f"{a} ~ {b}" for a, b in self.pairs[:5].tolist())
        return told + (f": training row ~ test row {some}" if some else "")

    __repr__ = __str__


def leakage(train: Any, test: Any, *, ignore: Sequence[str] = (), near: float | None = None) -> Leakage:
    """Rows of the test data that are in the training data, which a model may know by heart.

    Rows are compared by 64 bits of all their columns, arrays by all their numbers; the chance that two of a million
    rows each are taken for one by mistake is one in ten million.

    Arguments:
        train, test: data as for ``px.data.validate.statistics``, of the same columns.
        ignore: columns that may differ, such as an identifier, or ``"y"`` to find the same inputs with other labels.
        near: the cosine from which on rows of numbers count as the same: 0.98 finds images that are cropped or
            brightened a little. Rows are (n, features) or images of one size, alone or as ``x`` of ``(x, y)``, and are
            centred at the mean of the training data; all of them are compared, in n × m products.

    Raises:
        StructureError: columns that differ; near rows of what is no array. RangeError: a cosine that is none.

    >>> import numpy as np, phlox as px
    >>> x = np.arange(12.0).reshape(6, 2)
    >>> px.data.validate.leakage(x[:4], x[3:])
    1 of 3 test rows (33.3%) are among 4 of training: training row ~ test row 3 ~ 0
    """
    where = "leakage"
    first, second = (_hashes(data, ignore, where) for data in (train, test))
    if first[1] != second[1]:
        got = ", ".join(map(repr, sorted(first[1] ^ second[1])))
        fix = f"name them in ignore=[{got}]"
        raise StructureError("the same columns in both", got=f"{got} in one", fix=fix, where=where)
    known, at = np.unique(first[0], return_index=True)
    place = np.minimum(np.searchsorted(known, second[0]), len(known) - 1)
    same = known[place] == second[0]
    nearest, likeness = np.where(same, at[place], -1), same.astype(float)
    if near is not None:
        nearest, likeness = _near(train, test, near, nearest, likeness)
    rows = np.flatnonzero(nearest >= 0)
    return Leakage(np.stack([nearest[rows], rows], 1), likeness[rows], (len(first[0]), len(second[0])))


def _hashes(data: Any, ignore: Sequence[str], where: str) -> tuple[np.ndarray, set[str]]:
    """(rows,) what stands for each row, and the names of the columns."""
    found, names = [], set[str]()
    for chunk in chunks_of(data, names_of(None, where), where):
        kept = {name: raw for name, raw in chunk.columns.items() if name not in ignore}
        names |= set(kept)
        found.append(hashes_of(Chunk(chunk.rows, kept, chunk.places, chunk.contents)))
    return np.concatenate(found), names


def _near(
    train: Any, test: Any, near: float, nearest: np.ndarray, likeness: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest row of training of those that are not there as they are."""
    if isinstance(near, bool) or not 0 < near <= 1:
        raise RangeError("near above 0, up to 1", got=repr(near), fix="begin with 0.98", where="leakage")
    x, y = _vectors(train), _vectors(test)
    if x.shape[1] != y.shape[1]:
        fix = "resize images to one size"
        raise ShapeError(f"rows of {x.shape[1]} numbers", got=describe(y), fix=fix, where="leakage")
    mean = x.mean(0)
    x, y = (_units(v - mean) for v in (x, y))
    step = max(1, _BLOCK // len(x))
    for start in range(0, len(y), step):
        cosines = y[start : start + step] @ x.T
        best = cosines.argmax(1)
        rows = start + np.arange(len(best))
        found = (cosines[np.arange(len(best)), best] >= near) & (nearest[rows] < 0)
        nearest[rows[found]] = best[found]
        likeness[rows[found]] = np.minimum(cosines[np.flatnonzero(found), best[found]], np.nextafter(1, 0))
    return nearest, likeness


def _vectors(data: Any) -> np.ndarray:
    first = data[0] if isinstance(data, tuple) and data else data
    found = np.asarray(first) if hasattr(first, "__array__") else np.empty(0)
    if found.ndim < 2 or found.dtype.kind not in "biuf":
        fix = "give arrays (n, features) or (n, height, width, channels)"
        raise StructureError("rows of numbers to find near ones", got=describe(first), fix=fix, where="leakage")
    return found.reshape(len(found), -1).astype(np.float32)


def _units(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
