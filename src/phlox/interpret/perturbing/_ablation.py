"""Feature ablation and permutation: how far a score falls when one feature is gone, or somebody else's."""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.core import RangeError, answering
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import ask
from phlox.interpret.asking._baselines import Baselines, baselines_of
from phlox.interpret.asking._draws import generator
from phlox.interpret.asking._question import Forward
from phlox.interpret.asking._targets import Target
from phlox.interpret.asking._trees import taken
from phlox.interpret.perturbing._coalitions import scores_without
from phlox.interpret.perturbing._features import Features, features_of


@answering
def feature_ablation(
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
    r"""Feature ablation: $a_i = F(x) - F(x_{\setminus i})$, the score less that with a baseline for one feature.

    Shapes:
        x: a tree of (rows, …); values: the same; features: (rows, features).

    Arguments:
        model, x, target, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``; x may be
            integers.
        baselines: what stands for a missing feature: a number, one row, one for each row, or several with one more
            axis in front, over which the mean is taken; with a layer they are outputs of it. None is 0.
        feature_mask: a tree of integers that spreads to a row, the same where numbers are one feature; None takes each
            by itself.

    Returns:
        An ``Attribution``; each number has its feature's value.

    Raises:
        ShapeError: rows, targets, baselines or masks that do not fit.
        RangeError: an option outside its range, a layer that is none.

    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014.

    >>> import jax.numpy as jnp, phlox as px
    >>> found = px.interpret.feature_ablation(lambda x: x[:, 0] * x[:, 1] + x[:, 2], jnp.array([[2.0, 3.0, 1.0]]))
    >>> found.values[0].tolist()
    [6.0, 6.0, 1.0]
    """
    where = "px.interpret.feature_ablation"
    asked = ask(model, x, target, where, layer=layer, neuron=neuron, forward=forward, gradients=False)
    features = features_of(feature_mask, asked.z, where)
    bases = baselines_of(baselines, asked.z, where, integers=True)
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    found = [_without_each(asked, base, features, options) for base in bases]
    scores = found[0][1]
    lost = np.mean([f for f, _ in found], 0)
    return _attribution(asked, features, lost, "feature_ablation", scores, target, layer)


@answering
def feature_permutation(
    model: Any,
    x: Any,
    *,
    target: Target = None,
    repeats: int = 1,
    feature_mask: Any = None,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
    key: Any = None,
) -> Attribution:
    r"""Feature permutation: $a_i = F(x) - F(x_{i \leftarrow x^{π}_i})$, one feature taken from other rows.

    The mean over rows is the feature's importance where F is a loss or its negative.

    Shapes:
        x: a tree of (rows, …); values: the same; features: (rows, features).

    Arguments:
        model, x, target, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``; x may be
            integers, and has two rows at least.
        repeats: how many permutations π of the rows; the mean over them is taken.
        feature_mask: as of ``feature_ablation``.
        key: where permutations are drawn from; by default the stream of ``px.seed``.

    Raises:
        ShapeError: rows, targets or masks that do not fit.
        RangeError: one row; repeats below 1; a layer that is none.

    Source: Fisher, Rudin and Dominici, "All models are wrong, but many are useful", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> found = px.interpret.feature_permutation(lambda x: x[:, 0], jnp.array([[1.0, 5.0], [2.0, 7.0]]), key=0)
    >>> bool((found.values[:, 1] == 0).all())
    True
    """
    where = "px.interpret.feature_permutation"
    asked = ask(model, x, target, where, layer=layer, neuron=neuron, forward=forward, gradients=False)
    if asked.rows < 2 or isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        got = f"{asked.rows} rows, repeats={repeats!r}"
        raise RangeError("two rows and one repeat, or more", got=got, fix="pass a batch of data", where=where)
    features = features_of(feature_mask, asked.z, where)
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    found = []
    draws = generator(key)
    for _ in range(repeats):
        others = taken(asked.z, draws.permutation(asked.rows))
        found.append(_without_each(asked, others, features, options))
    lost = np.stack([f for f, _ in found])
    errors = lost.std(0, ddof=1) / np.sqrt(repeats) if repeats > 1 else None
    return _attribution(asked, features, lost.mean(0), "feature_permutation", found[0][1], target, layer, errors)


def _without_each(asked: Any, base: Any, features: Features, options: dict[str, Any]) -> tuple[Any, Any]:
    """(rows, features) what a score loses without each feature, and (rows,) the scores."""

    def chosen(numbers: Any) -> Any:  # the last coalition has all
        return numbers[:, None] != np.arange(features.count)

    scores = scores_without(asked, base, features, features.count + 1, chosen, **options)
    return (scores[-1] - scores[:-1]).T, scores[-1]


def _attribution(
    asked: Any, features: Features, found: Any, method: str, scores: Any, target: Any, layer: Any, errors: Any = None
) -> Attribution:
    spread = None if errors is None else features.spread(errors)
    values = features.spread(found)
    return Attribution(values, asked.z, method, scores, target=target, layer=layer, errors=spread, features=found)
