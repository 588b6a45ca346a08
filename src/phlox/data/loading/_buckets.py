"""Sequences of like length together, padded to one of a few lengths, so that few programs are compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phlox.core import RangeError, StructureError, describe
from phlox.data._batches import batch, batch_sequences

_SHORTEST = 8  # of the lengths that are chosen by themselves


class Buckets:
    """Which parts of an observation are sequences, and the lengths that they are padded to.

    Arguments:
        by: the key of a dict or the place in a tuple that holds a sequence, several in a tuple, or ``len`` where the
            observation is one itself.
        lengths: what to pad to, in increasing order; None is powers of two up to the longest.
        pad: what to pad with.
    """

    def __init__(self, by: Any, lengths: Sequence[int] | None, pad: Any):
        self._names = None if by is len else by if isinstance(by, tuple) else (by,)
        self.pad = pad
        self.lengths = None if lengths is None else _checked(lengths)

    def length(self, observation: Any) -> int:
        """The length of an observation: that of its longest sequence."""
        if self._names is None:
            return len(observation)
        return max(len(_part(observation, name)) for name in self._names)

    def number(self, lengths: Any) -> Any:
        """The bucket of each length; a number for a number.

        Raises:
            RangeError: a sequence longer than the last bucket.
        """
        lengths = np.asarray(lengths)
        if self.lengths is None:
            self.lengths = _powers(int(lengths.max(initial=1)))
        found = np.searchsorted(self.lengths, lengths)
        if (found == len(self.lengths)).any():
            at = int(np.argmax(lengths))
            got = f"{lengths.max()}" + (f" (observation {at})" if lengths.ndim else "")
            fix = f"cut them, or give buckets= one more than {self.lengths.tolist()}"
            raise RangeError(f"sequences of at most {self.lengths[-1]}", got=got, fix=fix, where="DataLoader")
        return found

    def padded_length(self, observation: Any) -> int:
        """What an observation is padded to."""
        return int(self.lengths[self.number(self.length(observation))])  # type: ignore[index]

    def collate(self, items: Sequence[Any], length: int) -> Any:
        """A batch in which each sequence part is ``Padded``, values and lengths."""
        if self._names is None:
            return batch_sequences(items, self.pad, length=length)
        sequences = {n: batch_sequences([_part(x, n) for x in items], self.pad, length=length) for n in self._names}
        found = batch([_with(x, dict.fromkeys(self._names, 0)) for x in items])
        return _with(found, sequences)


def _checked(lengths: Sequence[int]) -> np.ndarray:
    found = np.asarray(lengths)
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iu" or found[0] < 1 or (np.diff(found) < 1).any():
        fix = "give the lengths to pad to, such as (32, 64, 128)"
        raise RangeError("buckets as increasing whole numbers", got=repr(lengths), fix=fix, where="DataLoader")
    return found


def _powers(longest: int) -> np.ndarray:
    """Powers of two below the longest length, and that length."""
    powers = [2**n for n in range(_SHORTEST.bit_length() - 1, 63) if 2**n < longest]
    return np.array([*powers, longest])


def _part(observation: Any, name: Any) -> Any:
    try:
        return observation[name]
    except (KeyError, IndexError, TypeError):
        parts = str(list(observation)) if isinstance(observation, Mapping) else describe(observation)
        fix = "name a key or a place that each observation has; `len` is for observations that are sequences"
        raise StructureError(f"a part {name!r} to bucket by", got=parts, fix=fix, where="DataLoader") from None


def _with(observation: Any, parts: Mapping[Any, Any]) -> Any:
    """The observation with some parts in place of its own."""
    if isinstance(observation, Mapping):
        return {**observation, **parts}
    return tuple(parts.get(i, part) for i, part in enumerate(observation))
