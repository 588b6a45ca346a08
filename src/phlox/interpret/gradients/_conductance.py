"""Conductance and internal influence: what a layer's numbers did, along the line from a baseline to the input."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError, answering, describe, grad, jit, jvp
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import Asked, ask
from phlox.interpret.asking._baselines import Baselines, baselines_of
from phlox.interpret.asking._programs import scores_of, slopes
from phlox.interpret.asking._question import Context, Forward, Question
from phlox.interpret.asking._rounds import rounds
from phlox.interpret.asking._targets import Target, picked, resolved
from phlox.interpret.asking._trees import along, folded, row_sums, tiled, unfolded
from phlox.interpret.gradients._lines import check_tokens, mean, points, quadrature, spread


@answering
def conductance(
    model: Any,
    x: Any,
    *,
    layer: str,
    neuron: Target = None,
    target: Target = None,
    baselines: Baselines = None,
    steps: int = 64,
    rule: str = "gauss_legendre",
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Attribution:
    r"""Conductance of a layer: $c_j = \int_0^1 \partial F / \partial z_j \; \partial z_j / \partial t \; dt$.

    The integral is along the line $x' + t (x - x')$. A layer's conductances sum to $F(x) - F(x')$ where everything
    passes through the layer. With a neuron j, $c_{ij} = (x_i - x'_i) \int \partial F / \partial z_j \; \partial z_j /
    \partial x_i \; dt$ for each number of the input; they sum to $c_j$.

    Shapes:
        x: a tree of (rows, …), floating; values: as the layer's output, with a neuron as x.

    Arguments:
        model, x, target, baselines, steps, rule, forward, batch_size, progress: as of ``integrated_gradients``.
        layer: the path of the layer, as in ``px.capture``.
        neuron: a number of its output, as target has it, but no function.

    Returns:
        An ``Attribution``; its delta is None with a neuron.

    Raises:
        ShapeError: rows, targets or baselines that do not fit.
        RangeError: an option outside its range, a layer that is none.
        DtypeError: integers, which have no slopes.

    Source: Dhamdhere, Sundararajan and Yan, "How important is a neuron?", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense.of(jnp.eye(2), None, px.relu), px.Dense.of(jnp.array([[1.0], [2.0]]), None))
    >>> found = px.interpret.conductance(model, jnp.array([[3.0, -1.0]]), layer="layers.0")
    >>> [round(v, 4) for v in found.values[0].tolist()]
    [3.0, 0.0]
    """
    where = "px.interpret.conductance"
    inner, asked = _asked(model, x, target, layer, forward, where)
    ends = _ends(asked, baselines)
    places, weights = quadrature(steps, rule, where)
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    index = None if neuron is None else _index(inner, neuron, where)
    found = [_along(asked, inner, end, places, weights, "way", index, options) for end in ends]
    scores = scores_of(asked, batch_size=batch_size, progress=False)
    starts = [scores_of(asked, spread(end, asked.z), batch_size=batch_size, progress=False) for end in ends]
    values, before = mean(found), mean(starts)
    delta = None if neuron is not None else row_sums(values) - (scores - before)
    explained = inner.z if neuron is None else asked.z
    return Attribution(values, explained, "conductance", scores, before, delta, target, layer)


@answering
def internal_influence(
    model: Any,
    x: Any,
    *,
    layer: str,
    target: Target = None,
    baselines: Baselines = None,
    steps: int = 64,
    rule: str = "gauss_legendre",
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Attribution:
    r"""Internal influence of a layer: $\int_0^1 \partial F / \partial z_j \; dt$ on the line $x' + t (x - x')$.

    Shapes:
        x: a tree of (rows, …), floating; values: as the layer's output.

    Arguments:
        model, x, target, baselines, steps, rule, forward, batch_size, progress: as of ``integrated_gradients``.
        layer: the path of the layer, as in ``px.capture``.

    Raises:
        ShapeError: rows, targets or baselines that do not fit.
        RangeError: an option outside its range, a layer that is none.
        DtypeError: integers, which have no slopes.

    Source: Leino et al., "Influence-directed explanations for deep convolutional networks", 2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense.of(jnp.eye(2), None, px.relu), px.Dense.of(jnp.array([[1.0], [2.0]]), None))
    >>> found = px.interpret.internal_influence(model, jnp.array([[3.0, -1.0]]), layer="layers.0")
    >>> [round(v, 4) for v in found.values[0].tolist()]
    [1.0, 2.0]
    """
    where = "px.interpret.internal_influence"
    inner, asked = _asked(model, x, target, layer, forward, where)
    ends = _ends(asked, baselines)
    places, weights = quadrature(steps, rule, where)
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    values = mean([_along(asked, inner, end, places, weights, "nothing", None, options) for end in ends])
    scores = scores_of(asked, batch_size=batch_size, progress=False)
    return Attribution(values, inner.z, "internal_influence", scores, target=target, layer=layer)


def _asked(model: Any, x: Any, target: Any, layer: str, forward: Any, where: str) -> tuple[Asked, Asked]:
    """What is asked with the layer's output in its place, and of the input."""
    inner = ask(model, x, target, where, layer=layer, forward=forward)
    return inner, ask(model, x, target, where, forward=forward)


def _ends(asked: Asked, baselines: Any) -> list[Any]:
    check_tokens(asked, baselines)
    return baselines_of(baselines, asked.x, asked.where)


def _index(inner: Asked, neuron: Any, where: str) -> Any:
    pick, index = resolved(neuron, inner.z, inner.rows, where, "neuron")
    if index is None:
        fix = "name it by its place in the layer's output"
        raise RangeError("neuron= of integers", got=describe(pick), fix=fix, where=where)
    return index


def _along(
    asked: Asked, inner: Asked, end: Any, places: Any, weights: Any, by: str, index: Any, options: dict[str, Any]
) -> Any:
    question, by = inner.question, by if index is None else "neuron"

    def work(part: Asked, end: Any, index: Any, places: Any, weights: Any, counts: Any) -> Any:
        some = jnp.asarray(weights) * counts
        return _inside(question, part.z, part.context, end, index, jnp.asarray(places), some, by)

    return rounds(asked, len(places), work, beside=(end, index), each=(places, weights), **options)


@jit
def _inside(
    question: Question, x: Any, context: Context, end: Any, index: Any, places: Any, weights: Any, by: str
) -> Any:
    """The sum over points of a line of the layer's slopes, by weights.

    They are multiplied by how the layer moves, by nothing, or by how a neuron of it moves with each input.
    """
    copies = places.shape[0]
    at, many = folded(points(x, end, places)), tiled(context, copies)
    step = tiled(jax.tree.map(lambda v, b: jnp.broadcast_to(v - b, v.shape), x, end), copies)
    z, moves = jvp(question.at_layer, (at,), (step,))
    _, found = slopes(question, z, Context(at, many.index))
    if by == "neuron":
        which = tiled(index, copies)
        share = jax.lax.stop_gradient(picked(found, None, which))
        weighed = lambda question, x: (share * picked(question.at_layer(x), None, which)).sum()  # noqa: E731
        found, moves = grad(weighed, 1)(question, at), step
    terms = found if by == "nothing" else jax.tree.map(lambda g, d: g * d, found, moves)
    return jax.tree.map(lambda v: (along(weights.astype(v.dtype), v) * v).sum(0), unfolded(terms, copies))
