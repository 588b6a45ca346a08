"""Inputs drawn for a file that says no more of them than shapes and dtypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from phlox.serving.engine._servable import TEXT
from phlox.weights import BundleArray, Signature

_SIZES = (8, 5, 6, 7)


def drawn_for(told: Signature) -> list[dict[str, np.ndarray]]:
    """Inputs of three rows and of one, each symbol behind the first size of a size of its own.

    Real numbers are normal, whole ones 0 or 1; the same each time.
    """
    symbols = dict.fromkeys(n for x in told.inputs for n in x.shape[1:] if isinstance(n, str))
    sizes = {n: _SIZES[i % len(_SIZES)] for i, n in enumerate(symbols)}
    rng = np.random.default_rng(0)
    return [{x.name: _draw(x, rows, sizes, rng) for x in told.inputs} for rows in (3, 1)]


def _draw(told: BundleArray, rows: int, sizes: Mapping[str, int], rng: np.random.Generator) -> np.ndarray:
    first = [n if isinstance(n, int) else rows for n in told.shape[:1]]
    shape = (*first, *(n if isinstance(n, int) else sizes[n] for n in told.shape[1:]))
    if told.dtype == TEXT:
        return np.full(shape, "a", object)
    dtype: Any = np.dtype(getattr(ml_dtypes, told.dtype, told.dtype))
    real = dtype.kind not in "biu"
    return (rng.normal(size=shape) if real else rng.integers(0, 2, shape)).astype(dtype)
