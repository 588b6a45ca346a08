"""TCAV: whether a score rises in the direction of a concept that people show by examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from phlox.core import RangeError, answering
from phlox.interpret.asking._asked import Asked, as_rows, ask, layer_output
from phlox.interpret.asking._programs import gradients_of
from phlox.interpret.asking._question import Forward
from phlox.interpret.asking._targets import Target

_WHERE = "px.interpret.tcav"


@dataclass(frozen=True, eq=False)
class Concepts:
    """What ``tcav`` found; printed, a table.

    Attributes:
        scores: by concept (sets,), for each set of random examples the share of rows whose score rises in the
            direction of the concept.
        accuracies: by concept (sets,), how well examples of the concept are told from the random ones, of those that
            the direction was found from.
        p_values: by concept, of Welch's t-test that its scores are those of random directions; NaN for one set alone.
        directions: by concept (sets, numbers), of length 1, in the layer's output, flat.
        random_scores: the same shares for directions between random sets.
    """

    scores: Mapping[str, Any]
    accuracies: Mapping[str, Any]
    p_values: Mapping[str, float]
    directions: Mapping[str, Any]
    random_scores: Any

    def __str__(self) -> str:
        width = max(map(len, ["concept", *self.scores]))
        lines = [f"{'concept':<{width}}  {'score':>7}  {'std':>7}  {'accuracy':>8}  {'p':>8}"]
        for name, found in self.scores.items():
            numbers = f"{found.mean():>7.3f}  {found.std():>7.3f}  {self.accuracies[name].mean():>8.3f}"
            lines.append(f"{name:<{width}}  {numbers}  {self.p_values[name]:>8.2g}")
        return "\n".join(lines)

    __repr__ = __str__


@answering
def tcav(
    model: Any,
    x: Any,
    concepts: Mapping[str, Any],
    random: Any,
    *,
    layer: str,
    target: Target = None,
    penalty: float = 0.01,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Concepts:
    r"""TCAV: the share of rows with $\partial F / \partial z \cdot v > 0$, for the direction v of a concept.

    v goes from a layer's output z of random examples to that of the concept's: it is the weight of a logistic
    regression that tells the two apart, with $\frac{λ}{2} \|w\|^2$ added to its mean loss; the layer's numbers are
    scaled to a spread of 1 for it.

    Shapes:
        x, and examples: trees of (rows, …).

    Arguments:
        model, x, target, forward, batch_size, progress: as of ``integrated_gradients``.
        concepts: examples by the concept's name.
        random: examples of nothing in particular, or a list of several such sets: each gives a direction, and a
            t-test then says whether the concept differs from chance.
        layer: the path of the layer, as in ``px.capture``.
        penalty: λ above 0.

    Raises:
        ShapeError: rows or targets that do not fit.
        RangeError: no concept, an option outside its range, a layer that is none.

    Source: Kim et al., "Interpretability beyond feature attribution: quantitative testing with concept activation
    vectors", 2018.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense.of(jnp.eye(2), None), px.Dense.of(jnp.array([[1.0], [0.0]]), None))
    >>> noise = jax.random.normal(jax.random.key(0), (20, 2))
    >>> found = px.interpret.tcav(model, noise[:5], {"right": noise + jnp.array([3.0, 0.0])}, noise, layer="layers.0")
    >>> found.scores["right"].tolist()
    [1.0]
    """
    if not isinstance(concepts, Mapping) or not concepts or not penalty > 0:
        fix = 'name examples of a concept, {"striped": images}'
        raise RangeError("concepts by name, penalty above 0", got=repr(concepts)[:60], fix=fix, where=_WHERE)
    asked = ask(model, x, target, _WHERE, layer=layer, forward=forward)
    _, found = gradients_of(asked, batch_size=batch_size, progress=progress)
    slopes = _flat(found)
    sets = [_outputs(asked, one) for one in (random if isinstance(random, list) else [random])]
    pairs = [(a, b) for i, a in enumerate(sets) for b in sets[:i]]
    chance = np.asarray([_share(slopes, _direction(a, b, penalty)[0]) for a, b in pairs])
    scores: dict[str, Any] = {}
    accuracies: dict[str, Any] = {}
    directions: dict[str, Any] = {}
    for name, examples in concepts.items():
        own = _outputs(asked, examples)
        lines = [_direction(own, other, penalty) for other in sets]
        directions[name] = np.stack([v for v, _ in lines])
        accuracies[name] = np.asarray([a for _, a in lines])
        scores[name] = np.asarray([_share(slopes, v) for v in directions[name]])
    p_values = {name: _p_value(found, chance) for name, found in scores.items()}
    return Concepts(scores, accuracies, p_values, directions, chance)


def _outputs(asked: Asked, examples: Any) -> Any:
    return _flat(layer_output(asked.question, as_rows(examples, _WHERE)[0]))


def _flat(tree: Any) -> Any:
    """(rows, numbers) in float64."""
    leaves = [np.asarray(v, np.float64) for v in jax.tree.leaves(tree)]
    return np.concatenate([v.reshape(len(v), -1) for v in leaves], 1)


def _share(slopes: Any, direction: Any) -> float:
    return float((slopes @ direction > 0).mean())


def _direction(concept: Any, others: Any, penalty: float) -> tuple[Any, float]:
    """The direction of length 1 from others to a concept, and how many examples it tells apart."""
    examples = np.concatenate([concept, others])
    labels = np.concatenate([np.ones(len(concept)), np.zeros(len(others))])
    mean, spread = examples.mean(0), examples.std(0)
    scaled = (examples - mean) / np.where(spread > 0, spread, 1)
    weight, bias = logistic(scaled, labels, penalty)
    right = float(((scaled @ weight + bias > 0) == (labels > 0)).mean())
    direction = weight / np.where(spread > 0, spread, 1)
    return direction / max(np.linalg.norm(direction), 1e-30), right


def logistic(x: Any, y: Any, penalty: float) -> tuple[Any, float]:
    """The weights and bias of a logistic regression, by Newton's steps in the space that the examples span.

    With more numbers than examples the weight lies among the examples, w = xᵀ a, so a is what is solved for.
    """
    n = len(x)
    basis = np.linalg.svd(x, full_matrices=False)[2]
    z = np.concatenate([x @ basis.T, np.ones((n, 1))], 1)
    ridge = np.diag([penalty] * len(basis) + [0.0])
    found = np.zeros(z.shape[1])

    def value(w: Any) -> float:
        return float(np.mean(np.logaddexp(0, z @ w) - y * (z @ w)) + w @ ridge @ w / 2)

    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(z @ found, -500, 500)))
        slope = z.T @ (p - y) / n + ridge @ found
        curve = (z * (p * (1 - p))[:, None]).T @ z / n + ridge + 1e-12 * np.eye(len(found))
        step, size = np.linalg.solve(curve, slope), 1.0
        while size > 1e-8 and value(found - size * step) > value(found) - 1e-4 * size * float(slope @ step):
            size /= 2
        found = found - size * step
        if np.abs(slope).max() < 1e-10:
            break
    return found[:-1] @ basis, float(found[-1])


def _p_value(scores: Any, chance: Any) -> float:
    """Welch's t-test, two-sided."""
    if len(scores) < 2 or len(chance) < 2:
        return float("nan")
    from scipy import stats

    if np.std(scores) == 0 and np.std(chance) == 0:
        return 1.0 if np.mean(scores) == np.mean(chance) else 0.0
    parts = [part for v in (scores, chance) for part in (np.mean(v), np.std(v, ddof=1), len(v))]
    found: Any = stats.ttest_ind_from_stats(*parts, equal_var=False)
    return float(found.pvalue)
