"""Expected gradients: integrated gradients in the mean over baselines from data, by draws of both."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, answering, jit
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import Asked, ask, layer_output
from phlox.interpret.asking._baselines import distribution_of
from phlox.interpret.asking._draws import generator
from phlox.interpret.asking._programs import scores_at, scores_of, slopes
from phlox.interpret.asking._question import Context, Forward, Question
from phlox.interpret.asking._rounds import rounds
from phlox.interpret.asking._targets import Target
from phlox.interpret.asking._trees import along, folded, is_floating, row_sums, tiled, unfolded

_WHERE = "px.interpret.expected_gradients"


@answering
def expected_gradients(
    model: Any,
    x: Any,
    *,
    baselines: Any,
    target: Target = None,
    samples: int = 64,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
    key: Any = None,
) -> Attribution:
    r"""Expected gradients: $a_i = \mathbb{E}_{x', t} [(x_i - x'_i) \, \partial_i F(x' + t (x - x'))]$, t in (0, 1).

    Shapes:
        x: a tree of (rows, …); values, errors: the same.

    Arguments:
        model, x, target, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``.
        baselines: D, a tree of (n, …): rows of data like the input.
        samples: how many pairs of a baseline and a t are drawn for each row; each n of them take every baseline once,
            and the t are spread evenly, one in each of as many parts of (0, 1).
        key: where they are drawn from; by default the stream of ``px.seed``.

    Returns:
        An ``Attribution`` with standard errors as of independent draws, and deltas, which shrink with samples.

    Raises:
        ShapeError: rows, targets or baselines that do not fit.
        RangeError: samples below 2; an option outside its range.
        DtypeError: integers, which have no slopes.

    Source: Erion et al., "Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients", 2021; Lundberg and Lee, "A unified approach to interpreting model predictions", 2017, has it as
    GradientShap.

    >>> import jax.numpy as jnp, phlox as px
    >>> data = jnp.array([[0.0, 0.0], [2.0, 2.0]])
    >>> found = px.interpret.expected_gradients(lambda x: x[:, 0] - 2 * x[:, 1], data[1:], baselines=data, key=0)
    >>> found.values.tolist()
    [[1.0, -2.0]]
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 2:
        raise RangeError("samples of 2 or more", got=repr(samples), fix="64 are a start", where=_WHERE)
    asked = ask(model, x, target, _WHERE, layer=layer, neuron=neuron, forward=forward)
    data, count = distribution_of(baselines, asked.x, _WHERE)
    if asked.context.x is not None:
        data = layer_output(asked.question, data)
    which, places = _drawn(asked.rows, samples, count, generator(key))
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}

    def work(part: Asked, rows: Any, numbers: Any, counts: Any) -> Any:
        at = np.ix_(np.asarray(numbers), np.asarray(rows))
        return _there(
            part.question, part.z, part.context, data, jnp.asarray(which[at]), jnp.asarray(places[at]), counts
        )

    first, second = rounds(
        asked, samples, work, beside=(jnp.arange(asked.rows),), each=(np.arange(samples),), **options
    )
    values = jax.tree.map(lambda s: s / samples, first)
    errors = jax.tree.map(lambda s, m: jnp.sqrt(jnp.maximum(s / samples - m * m, 0) / (samples - 1)), second, values)
    scores = scores_of(asked, batch_size=batch_size, progress=False)
    before = scores_at(asked, data, count, batch_size=batch_size, progress=False).mean(0)
    delta = row_sums(values) - (scores - before)
    return Attribution(
        values, asked.z, "expected_gradients", scores, before, delta, target=target, layer=layer, errors=errors
    )


def _drawn(rows: int, samples: int, count: int, draws: np.random.Generator) -> tuple[Any, Any]:
    """(samples, rows) which baseline, and the place t."""
    turns = -(-samples // count)
    orders = np.tile(np.arange(count), (rows, turns, 1))
    which = draws.permuted(orders, axis=2).reshape(rows, -1)[:, :samples]
    strata = draws.permuted(np.tile(np.arange(samples), (rows, 1)), axis=1)
    return which.T, ((strata + draws.random((rows, samples))) / samples).T


@jit
def _there(question: Question, z: Any, context: Context, data: Any, which: Any, places: Any, counts: Any) -> Any:
    """The sums over draws of slopes times the way, and of their squares."""
    copies = places.shape[0]
    starts = jax.tree.map(lambda v, b: b[which] if is_floating(v) else jnp.broadcast_to(v, (copies, *v.shape)), z, data)

    def point(v: Any, b: Any) -> Any:
        return b + along(places.astype(v.dtype), b) * (v - b) if is_floating(v) else b

    _, found = slopes(question, folded(jax.tree.map(point, z, starts)), tiled(context, copies))

    def one(v: Any, b: Any, g: Any) -> Any:
        return along(counts.astype(g.dtype), g) * ((v - b) * g) if is_floating(v) else jnp.zeros(g.shape)

    steps = jax.tree.map(one, z, starts, unfolded(found, copies))
    return jax.tree.map(lambda s: s.sum(0), steps), jax.tree.map(lambda s: (s * s).sum(0), steps)
