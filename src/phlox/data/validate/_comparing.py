"""Two samples of one column: the test that suits it, and how far they are apart."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from phlox.data.validate._column import iso, kind_of, shown
from phlox.data.validate._measures import jensen_shannon, psi
from phlox.data.validate._values import KINDS, MISSING, TEXT, Values

FEW = 20  # different numbers up to which a column is one of classes
_CLASSES = 1000  # different texts up to which a column is one of classes
_BINS = 10
_LEAST_EXPECTED = 5
_EXACT = 10_000  # products of counts up to which the exact distribution is taken


class Compared(NamedTuple):
    """Two samples of a column.

    Attributes:
        kind: of both together.
        test: "Kolmogorov–Smirnov", "χ²", or "χ² of missing" where the share of that tells more.
        statistic: of the test.
        chance: how likely one so large is where both come from one distribution.
        psi, js: over tenths of the reference, or over the classes; what is missing is a bin of its own.
        bins: names of them.
        shares: of the reference and of the other in each.
    """

    kind: str
    test: str
    statistic: float
    chance: float
    psi: float
    js: float
    bins: tuple[str, ...]
    shares: tuple[tuple[float, ...], tuple[float, ...]]


def compared(reference: np.ndarray, current: np.ndarray) -> Compared:
    """The two samples of a column beside each other.

    Numbers, dates and the lengths of text that hardly repeats by Kolmogorov and Smirnov's test; text of few values,
    truths and up to 20 different numbers by χ². Where values are missing, the share of them is tested too, and the
    smaller chance of the two counts twice.
    """
    several = Values.of(reference), Values.of(current)
    kind = kind_of(np.bincount(np.concatenate([v.codes for v in several]), minlength=len(KINDS)))
    missing = [int((v.codes == MISSING).sum()) for v in several]
    numbers = [_numbers(v, kind) for v in several]
    if _is_of_classes(kind, several, numbers):
        labels = [_labels(v) for v in several]
        names, counts = _counted(*labels)
        test, (statistic, chance) = "χ²", chi_square(counts)
    else:
        names, counts = _in_tenths(numbers[0], numbers[1], kind)
        test, (statistic, chance) = "Kolmogorov–Smirnov", kolmogorov_smirnov(*numbers)
    if sum(missing):
        there = [len(v.codes) - gone for v, gone in zip(several, missing, strict=True)]
        distance, gone_by_chance = chi_square(np.array([missing, there]).T)
        if gone_by_chance < chance:
            test, statistic, chance = "χ² of missing", distance, gone_by_chance
        chance = min(1.0, 2 * chance)
        names, counts = (*names, "missing"), np.concatenate([counts, np.array(missing)[:, None]], 1)
    p, q = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    shares = (tuple(p.tolist()), tuple(q.tolist()))
    return Compared(kind, test, statistic, chance, psi(p, q), jensen_shannon(p, q), tuple(names), shares)


def kolmogorov_smirnov(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The largest distance between the distributions of two samples of numbers, and the chance of it."""
    from scipy.stats import ks_2samp

    if not len(x) or not len(y):
        return 0.0, 1.0  # what is missing is tested by itself
    found: Any = ks_2samp(x, y, method="exact" if len(x) * len(y) <= _EXACT else "asymp")
    return float(found.statistic), float(min(found.pvalue, 1.0))


def chi_square(counts: np.ndarray) -> tuple[float, float]:
    """χ² of homogeneity of (2, classes) counts, and the chance of it.

    As the distribution is only right where five of each class are expected in either sample, the two smallest classes
    are taken together until they are; of two that are too small even so, Fisher's exact test gives the chance.
    """
    from scipy.stats import chi2_contingency, fisher_exact

    totals = counts.sum(1)
    if not totals.all():
        return 0.0, 1.0
    counts = counts[:, counts.sum(0) > 0]
    share = totals.min() / totals.sum()
    while counts.shape[1] > 2 and counts.sum(0).min() * share < _LEAST_EXPECTED:
        counts = counts[:, np.argsort(counts.sum(0), kind="stable")]
        counts = np.concatenate([counts[:, :1] + counts[:, 1:2], counts[:, 2:]], 1)
    if counts.shape[1] < 2:
        return 0.0, 1.0
    found: Any = chi2_contingency(counts, correction=False)
    if counts.shape[1] == 2 and found.expected_freq.min() < _LEAST_EXPECTED:
        exact: Any = fisher_exact(counts)
        return float(found.statistic), float(exact.pvalue)
    return float(found.statistic), float(found.pvalue)


def _numbers(values: Values, kind: str) -> np.ndarray:
    if kind == "text":
        return np.array([len(text) for text in values.texts], np.float64)
    return values.numbers[~np.isnan(values.numbers)]


def _is_of_classes(kind: str, several: tuple[Values, Values], numbers: list[np.ndarray]) -> bool:
    if kind in ("boolean", "mixed", "other", "empty"):
        return True
    if kind == "text":
        texts = [text for v in several for text in v.texts]
        return len(set(texts)) <= min(_CLASSES, len(texts) / 2)
    return kind != "date" and len(np.unique(np.concatenate(numbers))) <= FEW


def _labels(values: Values) -> list[str]:
    """Values that are there as names of classes."""
    there = np.flatnonzero(values.codes != MISSING)
    plain = [values.raw[i] if values.codes[i] >= TEXT else f"{values.numbers[i]:.6g}" for i in there]
    return [one if isinstance(one, str) else repr(one) for one in plain]


def _counted(x: list[str], y: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    names, codes = np.unique(np.array([*x, *y], object).astype(str), return_inverse=True)
    counts = [np.bincount(part, minlength=len(names)) for part in (codes[: len(x)], codes[len(x) :])]
    return tuple(names.tolist()), np.array(counts)


def _in_tenths(x: np.ndarray, y: np.ndarray, kind: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Counts in bins that hold a tenth of the reference each."""
    if not len(x):
        return ("values",), np.array([[0], [len(y)]])
    edges = np.unique(np.quantile(x, np.linspace(0, 1, _BINS + 1)[1:-1], method="inverted_cdf"))
    counts = [np.bincount(np.searchsorted(edges, v), minlength=len(edges) + 1) for v in (x, y)]
    told = [iso(e) if kind == "date" else shown(float(e), kind) for e in edges]
    names = [f"up to {told[0]}", *(f"… {t}" for t in told[1:]), f"above {told[-1]}"]
    return tuple(names), np.array(counts)
