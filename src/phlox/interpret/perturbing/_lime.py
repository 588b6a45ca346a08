"""LIME: the sparse linear model that is nearest to a score around a row."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import Asked, ask
from phlox.interpret.asking._baselines import Baselines, baselines_of
from phlox.interpret.asking._draws import generator
from phlox.interpret.asking._question import Forward
from phlox.interpret.asking._targets import Target
from phlox.interpret.perturbing._coalitions import scores_without
from phlox.interpret.perturbing._features import Features, features_of

_WHERE = "px.interpret.lime"


@answering
def lime(
    model: Any,
    x: Any,
    *,
    target: Target = None,
    baselines: Baselines = None,
    samples: int = 1000,
    alpha: float = 0.01,
    distance: str = "cosine",
    kernel_width: float = 1.0,
    coalitions: Any = None,
    feature_mask: Any = None,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
    key: Any = None,
) -> Attribution:
    r"""LIME: $\min_{β, b} \frac{1}{2} \sum_s π_s (F(S_s) - b - \sum_{i \in S_s} β_i)^2 / \sum_s π_s + α \|β\|_1$.

    Each feature is there with probability ½, else its baseline is; $π_s = \exp(-d_s^2 / 2 w^2)$ weighs a sample by its
    distance from the row.

    Shapes:
        x: a tree of (rows, …); values: the same; features: (rows, features).

    Arguments:
        model, x, target, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``; x may be
            integers.
        baselines, feature_mask: as of ``feature_ablation``, but of one baseline.
        samples: how many, the same for all rows.
        alpha: α at least 0: the larger, the fewer features have a value.
        distance: ``"cosine"`` or ``"euclidean"``, of all numbers of the row.
        kernel_width: w above 0.
        coalitions: (samples, features) booleans in place of drawn ones.
        key: where they are drawn from; by default the stream of ``px.seed``.

    Returns:
        An ``Attribution`` whose values are β; each number has its feature's.

    Raises:
        RangeError: an option outside its range; several baselines.
        ShapeError: rows, targets, baselines, masks or coalitions that do not fit.

    Source: Ribeiro, Singh and Guestrin, "'Why should I trust you?' Explaining the predictions of any classifier", 2016.

    >>> import jax.numpy as jnp, phlox as px
    >>> found = px.interpret.lime(lambda x: 2 * x[:, 0] - x[:, 1], jnp.array([[1.0, 1.0]]), alpha=0.0, key=0)
    >>> [round(v, 3) for v in found.values[0].tolist()]
    [2.0, -1.0]
    """
    _check(samples, alpha, distance, kernel_width)
    asked = ask(model, x, target, _WHERE, layer=layer, neuron=neuron, forward=forward, gradients=False)
    features = features_of(feature_mask, asked.z, _WHERE)
    bases = baselines_of(baselines, asked.z, _WHERE, integers=True)
    if len(bases) > 1:
        raise RangeError(
            "one baseline", got=f"{len(bases)}", fix="choose one, or average what each gives", where=_WHERE
        )
    some = _coalitions(coalitions, samples, features.count, key)
    table = np.concatenate([some, np.ones((1, features.count), bool)])
    found = scores_without(
        asked, bases[0], features, len(table), lambda n: table[n], batch_size=batch_size, progress=progress
    )
    far = _distances(asked, bases[0], features, some, distance)
    weights = np.exp(-(far**2) / (2 * kernel_width**2))  # (rows, samples)
    values = np.stack([lasso(some, y, w, alpha) for y, w in zip(found[:-1].T, weights, strict=True)])
    spread = features.spread(values)
    return Attribution(spread, asked.z, "lime", found[-1], target=target, layer=layer, features=values)


def _check(samples: Any, alpha: Any, distance: Any, kernel_width: Any) -> None:
    for fine, what, got in (
        (isinstance(samples, int) and samples >= 2, "samples of 2 or more", samples),
        (alpha >= 0, "alpha of 0 or more", alpha),
        (kernel_width > 0, "kernel_width above 0", kernel_width),
        (distance in ("cosine", "euclidean"), 'distance "cosine" or "euclidean"', distance),
    ):
        if not fine:
            raise RangeError(what, got=repr(got), fix="leave it out", where=_WHERE)


def _coalitions(coalitions: Any, samples: int, count: int, key: Any) -> Any:
    if coalitions is None:
        return generator(key).random((samples, count)) < 0.5
    some = np.asarray(coalitions)
    if some.dtype != np.bool_ or some.shape[1:] != (count,) or len(some) < 2:
        fix = "say of each feature whether it is there"
        raise ShapeError(f"booleans of shape (samples, {count})", got=describe(some), fix=fix, where=_WHERE)
    return some


def _distances(asked: Asked, base: Any, features: Features, some: Any, kind: str) -> Any:
    """(rows, samples) how far each sample is from its row, from sums over the numbers of each feature."""
    here, there = _products(asked.z, asked.z, features), _products(asked.z, base, features)
    gone = _products(base, base, features)
    kept, left = some.T.astype(np.float64), (~some).T.astype(np.float64)
    if kind == "euclidean":
        return np.sqrt(np.maximum((here - 2 * there + gone) @ left, 0))
    dots, own, sizes = here @ kept + there @ left, here.sum(1, keepdims=True), here @ kept + gone @ left
    return 1 - dots / np.maximum(np.sqrt(own) * np.sqrt(sizes), 1e-8)


def _products(a: Any, b: Any, features: Features) -> Any:
    """(rows, features) the sums over each feature's numbers of products of two trees."""
    total: Any = 0.0
    for u, v, i in zip(*map(jax.tree.leaves, (a, b, features.ids)), strict=True):
        both = np.asarray(u, np.float64) * np.asarray(v, np.float64)
        flat = both.reshape(len(both), -1)
        total = total + np.stack([np.bincount(i.ravel(), row, features.count) for row in flat])
    return total


def lasso(some: Any, y: Any, weights: Any, alpha: float) -> Any:
    """(features,) the coefficients of a weighted lasso with an intercept, one coordinate at a time until none moves.

    >>> lasso(np.array([[0, 0], [1, 0], [0, 1], [1, 1]]), np.array([1.0, 3.0, 1.0, 3.0]), np.ones(4), 0.1).round(3)
    array([1.6, 0. ])
    """
    w = weights / weights.sum()
    columns = some - w @ some
    wanted = y - w @ y
    gram, slopes = (columns * w[:, None]).T @ columns, (columns * w[:, None]).T @ wanted
    if alpha == 0:
        return np.linalg.lstsq(np.sqrt(w)[:, None] * columns, np.sqrt(w) * wanted, rcond=None)[0]
    beta = np.zeros(len(slopes))
    for _ in range(10_000):
        before = beta.copy()
        for j in np.flatnonzero(np.diag(gram) > 0):
            rest = slopes[j] - gram[j] @ beta + gram[j, j] * beta[j]
            beta[j] = np.sign(rest) * max(abs(rest) - alpha, 0) / gram[j, j]
        if np.abs(beta - before).max() <= 1e-12 * max(np.abs(beta).max(), 1e-30):
            break
    return beta
