"""Integrated gradients: slopes summed along the straight line from a baseline to the input."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, answering, jit
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import Asked, ask, layer_output
from phlox.interpret.asking._baselines import Baselines, baselines_of
from phlox.interpret.asking._programs import scores_of, slopes
from phlox.interpret.asking._question import Context, Forward, Question
from phlox.interpret.asking._rounds import rounds
from phlox.interpret.asking._targets import Target
from phlox.interpret.asking._trees import along, any_floating, folded, on_floating, or_zeros, row_sums, tiled, unfolded

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


def ends_of(asked: Asked, baselines: Baselines) -> list[Any]:
    """The baselines of what is explained; of a layer they are what it gives for the input's."""
    _check_tokens(asked, baselines)
    given = baselines_of(baselines, asked.x, asked.where)
    if asked.context.x is None:
        return given
    return [layer_output(asked.question, spread(one, asked.x)) for one in given]


def _check_tokens(asked: Asked, baselines: Baselines) -> None:
    if baselines is None and asked.context.x is not None and not any_floating(asked.x):
        fix = "pass tokens that say nothing, baselines=jnp.full_like(tokens, pad)"
        raise RangeError("baselines= where the input is integers", got="None", fix=fix, where=asked.where)


def spread(end: Any, z: Any) -> Any:
    """A baseline for every row."""
    return jax.tree.map(lambda b, v: jnp.broadcast_to(b, v.shape), end, z)


def mean(trees: list[Any]) -> Any:
    """The mean of several trees."""
    return jax.tree.map(lambda *xs: sum(xs[1:], xs[0]) / len(xs), *trees)


def quadrature(steps: int, rule: str, where: str) -> tuple[Any, Any]:
    r"""Points t in [0, 1] and weights w, so that $\int_0^1 f(t) dt \approx \sum w f(t)$.

    >>> [x.tolist() for x in quadrature(2, "trapezoid", "")]
    [[0.0, 1.0], [0.5, 0.5]]
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise RangeError("steps of 1 or more", got=repr(steps), fix="64 do for most", where=where)
    even = np.full(steps, 1 / steps)
    if rule == "gauss_legendre":
        points, weights = np.polynomial.legendre.leggauss(steps)
        return (1 + points) / 2, weights / 2
    if rule == "trapezoid" and steps > 1:
        inner = np.full(steps, 1 / (steps - 1))
        inner[[0, -1]] /= 2
        return np.linspace(0, 1, steps), inner
    if rule in ("left", "middle", "right"):
        shift = {"left": 0.0, "middle": 0.5, "right": 1.0}[rule]
        return (np.arange(steps) + shift) / steps, even
    got = repr(rule) if rule != "trapezoid" else "1 step"
    fix = 'choose among "gauss_legendre", "middle", "trapezoid" (2 steps or more), "left", "right"'
    raise RangeError("a rule of quadrature", got=got, fix=fix, where=where)


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


def points(z: Any, end: Any, places: Any) -> Any:
    """(copies, rows, …) points of the lines from a baseline to what is explained; integers stand still."""
    copies = places.shape[0]

    def line(v: Any, b: Any) -> Any:
        t = along(places.astype(v.dtype), v[None])
        return b + t * (v - b)

    moved = on_floating(lambda v, b: line(v, b), z, end)
    return jax.tree.map(lambda m, v: m if m.ndim > v.ndim else jnp.broadcast_to(m, (copies, *m.shape)), moved, z)
