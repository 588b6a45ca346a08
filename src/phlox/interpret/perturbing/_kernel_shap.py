"""KernelShap: Shapley values as the weighted least squares of scores by which features are there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import ask
from phlox.interpret.asking._baselines import Baselines, baselines_of
from phlox.interpret.asking._draws import generator
from phlox.interpret.asking._question import Forward
from phlox.interpret.asking._targets import Target
from phlox.interpret.perturbing._coalitions import scores_without
from phlox.interpret.perturbing._features import features_of
from phlox.interpret.perturbing._shapley import members, shapley_attribution

_WHERE = "px.interpret.kernel_shap"


@answering
def kernel_shap(
    model: Any,
    x: Any,
    *,
    target: Target = None,
    baselines: Baselines = None,
    samples: int | None = None,
    coalitions: Any = None,
    feature_mask: Any = None,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
    key: Any = None,
) -> Attribution:
    r"""KernelShap: $\min_\varphi \sum_S π(S) (F(S) - F(\emptyset) - \sum_{i \in S} \varphi_i)^2$.

    The values sum to $F(x) - F(x')$, and the weights $π(S) = (n - 1) / (\binom{n}{|S|} |S| (n - |S|))$ make them the
    Shapley values. Where ``samples`` reach for all $2^n - 2$ coalitions, each is taken once, and the values are exact;
    else they are drawn by their weights, each with its complement.

    Shapes:
        x: a tree of (rows, …); values: the same; features: (rows, features).

    Arguments:
        model, x, target, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``; x may be
            integers.
        baselines, feature_mask: as of ``feature_ablation``.
        samples: how many coalitions, the same for all rows; None is 2 n + 2048.
        coalitions: (samples, features) booleans in place of drawn ones, drawn by π from all but the empty and the full.
        key: where they are drawn from; by default the stream of ``px.seed``.

    Returns:
        An ``Attribution``; ``features`` sum to the difference of scores, and each number has its feature's value.

    Raises:
        RangeError: samples too few to tell the features apart; an option outside its range.
        ShapeError: rows, targets, baselines, masks or coalitions that do not fit.

    Source: Lundberg and Lee, "A unified approach to interpreting model predictions", 2017; Covert and Lee, "Improving
    KernelSHAP: practical Shapley value estimation via linear regression", 2021, has the pairs.

    >>> import jax.numpy as jnp, phlox as px
    >>> found = px.interpret.kernel_shap(lambda x: x[:, 0] * x[:, 1] + x[:, 2], jnp.array([[2.0, 3.0, 1.0]]))
    >>> [round(v, 4) for v in found.values[0].tolist()]
    [3.0, 3.0, 1.0]
    """
    asked = ask(model, x, target, _WHERE, layer=layer, neuron=neuron, forward=forward, gradients=False)
    features = features_of(feature_mask, asked.z, _WHERE)
    some, weights = _some(features.count, samples, coalitions, key)
    ends = np.repeat([[False], [True]], features.count, 1)
    table = np.concatenate([ends[:1], some, ends[1:]])
    games = [
        scores_without(
            asked, base, features, len(table), lambda numbers: table[numbers], batch_size=batch_size, progress=progress
        )
        for base in baselines_of(baselines, asked.z, _WHERE, integers=True)
    ]
    game = np.mean(games, 0)
    return shapley_attribution(asked, features, _solved(some, weights, game), game, "kernel_shap", target, layer)


def _some(count: int, samples: int | None, coalitions: Any, key: Any) -> tuple[Any, Any]:
    """(samples, features) which features are there, and (samples,) weights."""
    if coalitions is not None:
        return _given(coalitions, count)
    samples = 2 * count + 2048 if samples is None else samples
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise RangeError("samples of 1 or more", got=repr(samples), fix="leave it out", where=_WHERE)
    if count < 20 and 2**count - 2 <= samples:
        every = members(count)(np.arange(1, 2**count - 1))
        return every, kernel(every.sum(1), count)
    return _drawn(count, samples, key)


def _given(coalitions: Any, count: int) -> tuple[Any, Any]:
    some = np.asarray(coalitions)
    if some.dtype != np.bool_ or some.shape[1:] != (count,):
        fix = "say of each feature whether it is there"
        raise ShapeError(f"booleans of shape (samples, {count})", got=describe(some), fix=fix, where=_WHERE)
    return some, np.ones(len(some))


def kernel(sizes: Any, count: int) -> Any:
    """The weights π of coalitions of these sizes, of which none is empty or full."""
    ways = np.asarray([math.comb(count, s) for s in sizes.tolist()], np.float64)
    return (count - 1) / (ways * sizes * (count - sizes))


def _drawn(count: int, samples: int, key: Any) -> tuple[Any, Any]:
    """Coalitions drawn by their weights, each followed by its complement."""
    draws = generator(key)
    sizes = np.arange(1, count)
    chances = 1 / (sizes * (count - sizes))
    half = (samples + 1) // 2
    drawn = draws.choice(sizes, half, p=chances / chances.sum())
    some = draws.permuted(np.tile(np.arange(count), (half, 1)), axis=1) < drawn[:, None]
    some = np.stack([some, ~some], 1).reshape(-1, count)[:samples]
    return some, np.ones(len(some))


def _solved(some: Any, weights: Any, game: Any) -> Any:
    """(rows, features) the least squares whose sum is the difference of the scores.

    The last feature is what the others leave of the sum, so the constraint holds exactly.
    """
    start, total = game[0], game[-1] - game[0]
    count = some.shape[1]
    if count == 1:
        return total[:, None]
    last = some[:, -1].astype(np.float64)
    columns = some[:, :-1] - last[:, None]
    root = np.sqrt(weights / weights.sum())[:, None]
    wanted = game[1:-1] - start - last[:, None] * total
    if np.linalg.matrix_rank(root * columns) < count - 1:
        got = f"{len(some)} for {count}"
        fix = "draw more samples, or group features by feature_mask="
        raise RangeError("samples enough to tell features apart", got=got, fix=fix, where=_WHERE)
    found = np.linalg.lstsq(root * columns, root * wanted, rcond=None)[0]
    return np.concatenate([found, total[None] - found.sum(0, keepdims=True)]).T
