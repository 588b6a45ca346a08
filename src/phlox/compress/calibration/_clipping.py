"""Where the range of what comes in is cut: what lies beyond is given up, so that the rest is rounded more finely."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Range = tuple[float, float]
_LEVELS = 256
_LITTLE = 1e-4
_TRIES = 100  # of ranges, from a hundredth to the whole


def by_percentile(counts: Array, low: float, high: float, percentile: float) -> Range:
    """The range that holds this percentage of the numbers, as many being beyond either end."""
    beyond = (1 - percentile / 100) / 2
    edges = np.linspace(low, high, len(counts) + 1)
    share = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)]) / counts.sum(dtype=np.float64)
    return float(np.interp(beyond, share, edges)), float(np.interp(1 - beyond, share, edges))


def by_error(counts: Array, low: float, high: float) -> Range:
    """The range, among shares of the whole, whose integers are nearest to the numbers in the mean of squares."""
    middle = _middles(counts, low, high)
    shares = np.arange(1, _TRIES + 1) / _TRIES
    errors = [_error(middle, counts, share * min(low, 0), share * max(high, 0)) for share in shares]
    share = float(shares[int(np.argmin(errors))])
    return share * low, share * high


def _error(middle: Array, counts: Array, low: float, high: float) -> float:
    scale = (high - low) / (_LEVELS - 1)
    zero = np.round(-low / scale)
    codes = np.clip(np.round(middle / scale) + zero, 0, _LEVELS - 1)
    return float(np.sum(counts * (middle - (codes - zero) * scale) ** 2, dtype=np.float64))


def by_entropy(counts: Array, low: float, high: float) -> Range:
    """The range at which the distribution of the integers tells least apart from that of the numbers.

    Of thresholds on their size, the one with the smallest Kullback-Leibler divergence of what is within, with all
    beyond at the threshold, from the same in as many levels as there are integers to a side.

    Source: Migacz, "8-bit inference with TensorRT", 2017.
    """
    sizes = _sizes(counts, low, high)
    most = max(-low, high)
    levels = _LEVELS // 2
    tries = range(levels, len(sizes) + 1, max(len(sizes) // 512, 1))
    best = min(tries, key=lambda i: _divergence(sizes, i, levels))
    threshold = most * best / len(sizes)
    return max(low, -threshold), min(high, threshold)


def _sizes(counts: Array, low: float, high: float) -> Array:
    """The histogram of sizes, without signs, in as many bins."""
    most = max(-low, high)
    at = np.minimum((np.abs(_middles(counts, low, high)) / most * len(counts)).astype(int), len(counts) - 1)
    return np.bincount(at, counts, len(counts))


def _divergence(sizes: Array, within: int, levels: int) -> float:
    """The divergence of the first bins, with what is beyond in the last, from themselves in a few levels."""
    kept = sizes[:within].astype(np.float64)
    p = kept.copy()
    p[-1] += sizes[within:].sum()
    level = np.arange(within) * levels // within
    there = kept > 0
    mass, bins = np.bincount(level, kept, levels), np.bincount(level, there, levels)
    q = np.where(there, (mass / np.maximum(bins, 1))[level], 0)
    if not q.sum():
        return math.inf
    p, q = (_smoothed(x) / x.sum() for x in (p, q))
    return float(np.sum(p * np.log(p / q)))


def _smoothed(x: Array) -> Array:
    """Counts in which none is zero: a ten-thousandth of one where there was none, taken off the others alike."""
    none = x == 0
    return np.where(none, _LITTLE, x - _LITTLE * none.sum() / max(np.sum(~none), 1))


def _middles(counts: Array, low: float, high: float) -> Array:
    edges = np.linspace(low, high, len(counts) + 1)
    return (edges[:-1] + edges[1:]) / 2


METHODS: dict[str, Callable[..., Range] | None] = {
    "minmax": None, "percentile": by_percentile, "mse": by_error, "entropy": by_entropy,
}  # fmt: skip
