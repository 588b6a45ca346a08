"""Telling probabilities from logits, for a warning where a loss takes logits."""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.losses._reduce import concrete


def looks_like_probabilities(scores: Any) -> bool:
    """Whether scores (..., classes), where logits are wanted, are surely the result of a softmax.

    They are where every row sums to 1 and no number is negative, over two rows or more that differ. Rows that are all
    equal (a model at its start) and rows of 0 and 1 alone (a table of one-hot rows) may well be logits. Values that
    are not known, in a trace, look like nothing.
    """
    values = concrete(scores)
    if values is None or values.ndim < 2 or values.shape[-1] < 2 or values.dtype.kind in "biuc":
        return False
    rows = values.reshape(-1, values.shape[-1]).astype("float64")
    if len(rows) < 2 or not np.all(rows >= 0) or np.all(rows == rows[:1]) or np.all((rows == 0) | (rows == 1)):
        return False
    off = 4 * 2.0**-8 if values.dtype.itemsize == 2 else 1e-4
    return bool(np.all(np.abs(rows.sum(-1) - 1) <= off))
