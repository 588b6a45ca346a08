"""Integrated gradients: slopes summed along the straight line from a baseline to the input."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import answering, jit
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import Asked, ask
from phlox.interpret.asking._baselines import Baselines
from phlox.interpret.asking._programs import scores_of, slopes
from phlox.interpret.asking._question import Context, Forward, Question
from phlox.interpret.asking._rounds import rounds
from phlox.interpret.asking._targets import Target
from phlox.interpret.asking._trees import folded, or_zeros, row_sums, tiled, unfolded
from phlox.interpret.gradients._lines import ends_of, mean, points, quadrature, spread

_WHERE = "px.interpret.integrated_gradients"


@answering
def integrated_gradients(
    model: Any,
    x: Any,
    *,
    target: Target = None,
    baselines: Baselines = None,
    steps: int = 64,
    rule: str = "gauss_legendre",
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Attribution:
    r"""Integrated gradients: $a_i = (x_i - x'_i) \int_0^1 \partial F(x' + t (x - x')) / \partial x_i \, dt$.

    Their sum is $F(x) - F(x')$; ``delta`` says how far the sum over ``steps`` is from it.

    Shapes:
        x: a tree of (rows, …); values: the same.

    Arguments:
        model: a Module, or a function of arrays; it infers, and stays as it is.
        x: what it is called with: a tuple is several arguments, a dict named ones.
        target: which number of a row's output: a class, an integer for each row, a tuple that indexes the axes of a
            row, a function of one row's output; None where it has one number.
        baselines: $x'$: a number, one row, one for each row, or several of these with one more axis in front, over
            which the mean is taken; None is 0. Trees go leaf by leaf, and None leaves a leaf as it is.
        steps: at how many points slopes are taken.
        rule: where: ``"gauss_legendre"``, ``"middle"``, ``"trapezoid"``, ``"left"`` or ``"right"``.
        layer: the path of a layer whose output is explained in place of the input, as in ``px.capture``; baselines are
            still those of the input. So tokens are explained: by what their embedding gives.
        neuron: a number of that layer's output, as target has it, which is then explained by the input.
        forward: how the model is called, ``forward(model, x)``.
        batch_size: how many points are computed at once; None for as many as memory allows.
        progress: whether a bar is shown; None shows it in a terminal where it takes long.

    Returns:
        An ``Attribution`` with a delta for each row.

    Raises:
        ShapeError: rows, targets or baselines that do not fit.
        RangeError: an option outside its range, a layer that is none, no baselines for tokens.
        DtypeError: integers, which have no slopes.

    Source: Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> found = px.interpret.integrated_gradients(lambda x: x[:, 0] * x[:, 1] + x[:, 2], jnp.array([[2.0, 3.0, 1.0]]))
    >>> [round(v, 4) for v in found.values[0].tolist()]
    [3.0, 3.0, 1.0]
    """
    asked = ask(model, x, target, _WHERE, layer=layer, neuron=neuron, forward=forward)
    ends = ends_of(asked, baselines)
    places, weights = quadrature(steps, rule, _WHERE)
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    found, starts = [], []
    for end in ends:
        found.append(rounds(asked, steps, _path_round, beside=(end,), each=(places, weights), **options))
        starts.append(scores_of(asked, spread(end, asked.z), batch_size=batch_size, progress=False))
    scores = scores_of(asked, batch_size=batch_size, progress=False)
    values, before = mean(found), mean(starts)
    delta = row_sums(values) - (scores - before)
    return Attribution(values, asked.z, "integrated_gradients", scores, before, delta, target, layer)


def _path_round(part: Asked, end: Any, places: Any, weights: Any, counts: Any) -> Any:
    return _path(part.question, part.z, part.context, end, jnp.asarray(places), jnp.asarray(weights) * counts)


@jit
def _path(question: Question, z: Any, context: Context, end: Any, places: Any, weights: Any) -> Any:
    """The sum over points of a line: slopes there by weights, times the way."""
    copies = places.shape[0]
    at = points(z, end, places)
    _, found = slopes(question, folded(at), tiled(context, copies))
    total = jax.tree.map(lambda g: jnp.tensordot(weights.astype(g.dtype), g, 1), unfolded(found, copies))
    return or_zeros(lambda v, b, g: (v - b) * g, z, end, total)
