"""DeepLift: differences from a baseline, handed back through the model; DeepLiftShap in the mean over baselines."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.autodiff import walk
from phlox.core import answering, jit
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import Asked, ask, layer_output
from phlox.interpret.asking._baselines import Baselines, distribution_of
from phlox.interpret.asking._programs import scores_at, scores_of
from phlox.interpret.asking._question import Context, Forward, Question
from phlox.interpret.asking._rounds import rounds
from phlox.interpret.asking._targets import Target
from phlox.interpret.asking._trees import along, folded, is_floating, or_zeros, row_sums, tiled, unfolded
from phlox.interpret.gradients._lines import ends_of, mean, spread
from phlox.interpret.rewriting._differences import differences
from phlox.interpret.rewriting._lines import lines_of, rules_by


@answering
def deep_lift(
    model: Any,
    x: Any,
    *,
    target: Target = None,
    baselines: Baselines = None,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Attribution:
    r"""DeepLift, by its rescale rule: $a_i = m_i (x_i - x'_i)$, m made of quotients $Δy / Δx$, not of slopes.

    One pass forward, one at the baseline, one back. Their sum is $F(x) - F(x')$: products of two parts that differ, as
    in attention and gates, share what came out evenly, and a maximum gives it to the places where it was and is.

    Shapes:
        x: a tree of (rows, …); values: the same.

    Arguments:
        model, x, target, baselines, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``.

    Returns:
        An ``Attribution``; its delta is not zero where the model sorts, looks up by computed places, or branches.

    Raises:
        StructureError: an operation that has no rule in ``px.autodiff``.
        ShapeError: rows, targets or baselines that do not fit.
        RangeError: an option outside its range, a layer that is none, no baselines for tokens.
        DtypeError: integers, which have no differences.

    Source: Shrikumar, Greenside and Kundaje, "Learning important features through propagating activation differences",
    2017; Lundberg and Lee, "A unified approach to interpreting model predictions", 2017, for maxima.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense.of(jnp.array([[1.0], [1.0]]), jnp.array([-1.0]), px.relu))
    >>> [round(v, 4) for v in px.interpret.deep_lift(model, jnp.array([[2.0, 1.0]])).values[0].tolist()]
    [1.3333, 0.6667]
    """
    asked = ask(model, x, target, "px.interpret.deep_lift", layer=layer, neuron=neuron, forward=forward)
    ends = ends_of(asked, baselines)
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    found = [rounds(asked, 1, _one, beside=(end,), **options) for end in ends]
    starts = [scores_of(asked, spread(end, asked.z), batch_size=batch_size, progress=False) for end in ends]
    scores = scores_of(asked, batch_size=batch_size, progress=False)
    return _attribution(asked, mean(found), scores, mean(starts), "deep_lift", target, layer)


@answering
def deep_lift_shap(
    model: Any,
    x: Any,
    *,
    baselines: Any,
    target: Target = None,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Attribution:
    r"""DeepLiftShap: DeepLift in the mean over baselines from data, which approximates Shapley values.

    Shapes:
        x: a tree of (rows, …); values: the same.

    Arguments:
        model, x, target, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``.
        baselines: a tree of (n, …): rows of data like the input, each of which is taken for every row.

    Raises:
        StructureError, ShapeError, RangeError, DtypeError: as of ``deep_lift``.

    Source: Lundberg and Lee, "A unified approach to interpreting model predictions", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> data = jnp.array([[0.0, 0.0], [2.0, 2.0]])
    >>> px.interpret.deep_lift_shap(lambda x: x[:, 0] - 2 * x[:, 1], data[1:], baselines=data).values.tolist()
    [[1.0, -2.0]]
    """
    where = "px.interpret.deep_lift_shap"
    asked = ask(model, x, target, where, layer=layer, neuron=neuron, forward=forward)
    data, count = distribution_of(baselines, asked.x, where)
    if asked.context.x is not None:
        data = layer_output(asked.question, data)

    def work(part: Asked, numbers: Any, counts: Any) -> Any:
        return _lifted(part.question, part.z, part.context, jax.tree.map(lambda b: b[numbers][:, None], data), counts)

    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    total = rounds(asked, count, work, each=(np.arange(count),), **options)
    values = jax.tree.map(lambda t: t / count, total)
    scores = scores_of(asked, batch_size=batch_size, progress=False)
    before = scores_at(asked, data, count, batch_size=batch_size, progress=False).mean(0)
    return _attribution(asked, values, scores, before, "deep_lift_shap", target, layer)


def _attribution(
    asked: Asked, values: Any, scores: Any, before: Any, method: str, target: Any, layer: str | None
) -> Attribution:
    delta = row_sums(values) - (scores - before)
    return Attribution(values, asked.z, method, scores, before, delta, target, layer)


def _one(part: Asked, end: Any, counts: Any) -> Any:
    return _lifted(part.question, part.z, part.context, jax.tree.map(lambda b: b[None], end), counts)


@jit
def _lifted(question: Question, z: Any, context: Context, starts: Any, counts: Any) -> Any:
    """The sum over baselines (copies, rows or 1, …) of multipliers times differences."""
    copies = counts.shape[0]

    def for_rows(v: Any, b: Any) -> Any:
        return jnp.broadcast_to(b if is_floating(v) else v[None], (copies, *v.shape))

    starts, many = folded(jax.tree.map(for_rows, z, starts)), tiled(z, copies)
    lines = lines_of(question, many, tiled(context, copies))
    program, values = lines.program, lines.program.run(lines.inputs)
    before = program.run(lines.given(starts))
    seed = [jnp.ones_like(values[program.outputs[0]])]
    rules = rules_by(differences(lines, before), lines)
    multipliers = lines.found(walk(program, values, seed, lines.wanted, rules))
    parts = or_zeros(lambda v, b, m: m * (v - b), many, starts, multipliers)
    return jax.tree.map(lambda v: (along(counts.astype(v.dtype), v) * v).sum(0), unfolded(parts, copies))
