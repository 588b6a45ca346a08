"""Shapley values: what a feature adds, in the mean over all orders in which features may come."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from phlox.core import RangeError, answering
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import ask
from phlox.interpret.asking._baselines import Baselines, baselines_of
from phlox.interpret.asking._draws import generator
from phlox.interpret.asking._question import Forward
from phlox.interpret.asking._targets import Target
from phlox.interpret.perturbing._coalitions import scores_without
from phlox.interpret.perturbing._features import Features, features_of

MOST = 20  # features whose coalitions are all computed


@answering
def shapley_values(
    model: Any,
    x: Any,
    *,
    target: Target = None,
    baselines: Baselines = None,
    feature_mask: Any = None,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Attribution:
    r"""Shapley values, exactly: $\varphi_i = \sum_{S \not\ni i} \frac{|S|! (n - |S| - 1)!}{n!} (F(S \cup i) - F(S))$.

    F(S) is the score with a baseline for all features outside of S. All $2^n$ are computed, for up to 20 features.

    Shapes:
        x: a tree of (rows, …); values: the same; features: (rows, features).

    Arguments:
        model, x, target, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``; x may be
            integers.
        baselines, feature_mask: as of ``feature_ablation``.

    Returns:
        An ``Attribution``; ``features`` sum to the difference of scores, and each number has its feature's value.

    Raises:
        RangeError: more than 20 features; an option outside its range.
        ShapeError: rows, targets, baselines or masks that do not fit.

    Source: Shapley, "A value for n-person games", 1953.

    >>> import jax.numpy as jnp, phlox as px
    >>> found = px.interpret.shapley_values(lambda x: x[:, 0] * x[:, 1] + x[:, 2], jnp.array([[2.0, 3.0, 1.0]]))
    >>> found.values[0].tolist()
    [3.0, 3.0, 1.0]
    """
    where = "px.interpret.shapley_values"
    asked = ask(model, x, target, where, layer=layer, neuron=neuron, forward=forward, gradients=False)
    features = features_of(feature_mask, asked.z, where)
    if features.count > MOST:
        fix = "group them by feature_mask=, or take px.interpret.shapley_sampling or kernel_shap"
        raise RangeError(f"up to {MOST} features", got=str(features.count), fix=fix, where=where)
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    games = [
        scores_without(asked, base, features, 2**features.count, members(features.count), **options)
        for base in baselines_of(baselines, asked.z, where, integers=True)
    ]
    game = np.mean(games, 0)
    return shapley_attribution(asked, features, _exact(game, features.count), game, "shapley_values", target, layer)


def members(count: int) -> Any:
    """Coalitions by number: the i-th bit says whether feature i is in it."""
    return lambda numbers: (numbers[:, None] >> np.arange(count)) & 1 == 1


def _exact(game: Any, count: int) -> Any:
    """(rows, features) from (2**features, rows)."""
    numbers = np.arange(2**count)
    sizes = np.asarray([number.bit_count() for number in numbers.tolist()])
    found = []
    for i in range(count):
        without = numbers[(numbers >> i) & 1 == 0]
        weights = 1 / (count * np.asarray([math.comb(count - 1, s) for s in sizes[without].tolist()], np.float64))
        found.append(weights @ (game[without | 1 << i] - game[without]))
    return np.stack(found, 1)


@answering
def shapley_sampling(
    model: Any,
    x: Any,
    *,
    target: Target = None,
    baselines: Baselines = None,
    samples: int = 25,
    feature_mask: Any = None,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
    key: Any = None,
) -> Attribution:
    r"""Shapley values, sampled: the mean over random orders of what a feature adds to those before it.

    The values of each order sum to the difference of scores, so their mean does too. Orders come in pairs, each with
    its reverse, which takes much of the error away.

    Shapes:
        x: a tree of (rows, …); values, errors: the same; features: (rows, features).

    Arguments:
        model, x, target, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``; x may be
            integers.
        baselines, feature_mask: as of ``feature_ablation``.
        samples: how many pairs of orders, the same for all rows.
        key: where they are drawn from; by default the stream of ``px.seed``.

    Returns:
        An ``Attribution`` with standard errors, from the spread between pairs.

    Raises:
        RangeError: samples below 1; an option outside its range.
        ShapeError: rows, targets, baselines or masks that do not fit.

    Source: Štrumbelj and Kononenko, "An efficient explanation of individual classifications using game theory", 2010;
    Mitchell et al., "Sampling permutations for Shapley value estimation", 2022, has the pairs.

    >>> import jax.numpy as jnp, phlox as px
    >>> found = px.interpret.shapley_sampling(lambda x: x[:, 0] * x[:, 1] + x[:, 2], jnp.array([[2.0, 3.0, 1.0]]))
    >>> found.values[0].tolist()
    [3.0, 3.0, 1.0]
    """
    where = "px.interpret.shapley_sampling"
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise RangeError("samples of 1 or more", got=repr(samples), fix="25 pairs of orders are a start", where=where)
    asked = ask(model, x, target, where, layer=layer, neuron=neuron, forward=forward, gradients=False)
    features = features_of(feature_mask, asked.z, where)
    count = features.count
    orders = generator(key).permuted(np.tile(np.arange(count), (samples, 1)), axis=1)
    orders = np.stack([orders, orders[:, ::-1]], 1).reshape(-1, count)
    ranks = np.argsort(orders, 1)

    def chosen(numbers: Any) -> Any:  # each order from nobody to everybody
        return ranks[numbers // (count + 1)] < (numbers % (count + 1))[:, None]

    games = [
        scores_without(asked, base, features, len(orders) * (count + 1), chosen, batch_size=batch_size,
                       progress=progress)
        for base in baselines_of(baselines, asked.z, where, integers=True)
    ]  # fmt: skip
    game = np.mean(games, 0).reshape(samples, 2, count + 1, asked.rows)
    added = np.diff(game, axis=2)  # of the feature that comes at each place
    places = ranks.reshape(samples, 2, count)
    found = np.take_along_axis(added, places[..., None], 2).mean(1)  # (samples, features, rows)
    errors = found.std(0, ddof=1).T / math.sqrt(samples) if samples > 1 else None
    ends = game[0, 0][[0, -1]]
    return shapley_attribution(asked, features, found.mean(0).T, ends, "shapley_sampling", target, layer, errors)


def shapley_attribution(
    asked: Any, features: Features, found: Any, game: Any, method: str, target: Any, layer: Any, errors: Any = None
) -> Attribution:
    """An attribution of (rows, features) values; ``game`` has nobody's scores first and everybody's last."""
    before, scores = game[0], game[-1]
    return Attribution(
        features.spread(found),
        asked.z,
        method,
        scores,
        before,
        found.sum(1) - (scores - before),
        target,
        layer,
        None if errors is None else features.spread(errors),
        found,
    )
