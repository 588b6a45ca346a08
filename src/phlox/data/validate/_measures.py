"""How far two samples are apart, as numbers: PSI, Jensen–Shannon, and MMD with the chance of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.core import RangeError, ShapeError, describe
from phlox.data._observations import whole

_LEAST = 1e-4  # what an empty bin counts as
_MOST_PAIRS = 2000  # rows of each sample whose distances are taken


def psi(reference: Any, current: Any) -> float:
    r"""Population stability index of two histograms over the same bins.

    $\mathrm{PSI} = \sum_i (q_i - p_i) \ln(q_i / p_i)$, where p and q are the shares of the bins. Below 0.1 is taken
    for no change, above 0.25 for a large one. An empty bin counts as a share of 0.0001.

    Shapes:
        reference, current: (bins,) counts or shares.

    Raises:
        ShapeError: other shapes. RangeError: negative counts, or none at all.

    Source: Siddiqi, "Credit risk scorecards", 2006.

    >>> round(psi([50, 50], [60, 40]), 4), psi([1, 2], [10, 20])
    (0.0405, 0.0)
    """
    p, q = (np.maximum(share, _LEAST) for share in _shares(reference, current, "psi"))
    return float(((q - p) * np.log(q / p)).sum())


def jensen_shannon(reference: Any, current: Any) -> float:
    r"""Jensen–Shannon distance of two histograms over the same bins, from 0 to 1.

    $\sqrt{(D(p \| m) + D(q \| m)) / 2}$, $m = (p + q) / 2$, with D in bits.

    Shapes:
        reference, current: (bins,) counts or shares.

    Raises:
        ShapeError: other shapes. RangeError: negative counts, or none at all.

    Source: Endres and Schindelin, "A new metric for probability distributions", 2003.

    >>> jensen_shannon([1, 0], [0, 1]), jensen_shannon([1, 2], [10, 20])
    (1.0, 0.0)
    """
    p, q = _shares(reference, current, "jensen_shannon")
    m = (p + q) / 2
    bits = sum(float((s[s > 0] * np.log2(s[s > 0] / m[s > 0])).sum()) for s in (p, q))
    return float(np.sqrt(max(bits, 0.0) / 2))


def _shares(reference: Any, current: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    p, q = np.asarray(reference, np.float64), np.asarray(current, np.float64)
    if p.ndim != 1 or p.shape != q.shape:
        fix = "count both over the same bins"
        raise ShapeError("two histograms (bins,)", got=f"{describe(p)} and {describe(q)}", fix=fix, where=where)
    if not (p >= 0).all() or not (q >= 0).all() or not p.sum() > 0 or not q.sum() > 0:
        fix = "count at least one value in each"
        raise RangeError("counts of 0 or more, not all 0", got="others", fix=fix, where=where)
    return p / p.sum(), q / q.sum()


def mmd(reference: Any, current: Any, *, permutations: int = 500, seed: int = 0) -> tuple[float, float]:
    r"""Maximum mean discrepancy of two samples of vectors, squared, and how likely one so large is by chance.

    $\mathrm{MMD}^2 = \overline{k(x, x')} + \overline{k(y, y')} - 2\,\overline{k(x, y)}$ over pairs of different rows,
    with $k(a, b) = e^{-\|a - b\|^2 / (2 s^2)}$ and s the median distance. The chance is that of a permutation test,
    exact for any number of rows: it is at most α with probability at most α where both come from one distribution.

    Shapes:
        reference: (n, features) or (n,); current: (m, features) or (m,): such as embeddings of images or texts.

    Arguments:
        permutations: how often rows are dealt anew; the smallest chance that can be told is 1 / (permutations + 1).
        seed: of the dealing, and of the choice among more than 2000 rows.

    Raises:
        ShapeError: other shapes, or fewer than two rows. RangeError: numbers that are not finite.

    Source: Gretton, Borgwardt, Rasch, Schölkopf and Smola, "A kernel two-sample test", 2012.

    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(80, 4)), rng.normal(size=(80, 4))
    >>> mmd(x, y)[1] > 0.05, mmd(x, y + 0.7)[1] < 0.01
    (True, True)
    """
    permutations = whole("mmd", "permutations", permutations)
    rng = np.random.default_rng(seed)
    x, y = (_some(_vectors(v), rng) for v in (reference, current))
    if x.shape[1] != y.shape[1]:
        fix = "embed both by the same model"
        raise ShapeError(f"(rows, {x.shape[1]})", got=describe(y), fix=fix, where="mmd")
    kernel, n = _kernel(np.concatenate([x, y])), len(x)
    belongs = np.zeros((permutations + 1, len(kernel)))
    belongs[0, :n] = 1
    for row in belongs[1:]:
        row[rng.permutation(len(kernel))[:n]] = 1
    found = _discrepancies(kernel, belongs, n)
    slack = 1e-12 * max(1.0, abs(float(found[0])))
    return float(found[0]), float((found >= found[0] - slack).mean())


def _discrepancies(kernel: np.ndarray, belongs: np.ndarray, n: int) -> np.ndarray:
    """MMD² for each way to deal the rows; ``kernel`` has zeros on its diagonal."""
    m = len(kernel) - n
    sums = belongs @ kernel
    within = np.einsum("ij,ij->i", sums, belongs)
    across = sums.sum(1) - within
    others = kernel.sum() - within - 2 * across
    return within / (n * (n - 1)) + others / (m * (m - 1)) - 2 * across / (n * m)


def _kernel(rows: np.ndarray) -> np.ndarray:
    squares = (rows**2).sum(1)
    far = np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0.0)
    apart = far[np.triu_indices(len(far), 1)]
    width = float(np.median(apart[apart > 0])) if (apart > 0).any() else 1.0
    kernel = np.exp(-far / width / 2)
    np.fill_diagonal(kernel, 0.0)
    return kernel


def _vectors(given: Any) -> np.ndarray:
    found = np.asarray(given, np.float64)
    found = found.reshape(len(found), -1) if found.ndim else found
    if found.ndim != 2 or len(found) < 2:
        fix = "give a row for each of at least two observations"
        raise ShapeError("samples (rows, features)", got=describe(given), fix=fix, where="mmd")
    if not np.isfinite(found).all():
        fix = "fill in or leave out what is missing"
        raise RangeError("finite numbers", got="others", fix=fix, where="mmd")
    return found


def _some(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= _MOST_PAIRS else rows[np.sort(rng.choice(len(rows), _MOST_PAIRS, replace=False))]
