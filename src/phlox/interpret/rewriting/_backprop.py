"""Guided backpropagation and deconvolution: gradients in which rectifiers let less, or more, flow back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.autodiff import Step, walk
from phlox.core import StructureError, answering, jit
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import Asked, ask
from phlox.interpret.asking._question import Context, Forward, Question
from phlox.interpret.asking._rounds import rounds
from phlox.interpret.asking._targets import Target
from phlox.interpret.rewriting._lines import Lines, Unary, lines_of, plain, rules_by


@answering
def guided_backprop(
    model: Any,
    x: Any,
    *,
    target: Target = None,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Attribution:
    r"""Guided backpropagation: the gradient, of which a ReLU passes back what is positive: $\bar x = \bar y^+ [x > 0]$.

    Shapes:
        x: a tree of (rows, …); values: the same.

    Arguments:
        model, x, target, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``. Other
            activations keep their gradient.

    Raises:
        StructureError: a model without a ReLU, or with an operation that has no rule in ``px.autodiff``.
        ShapeError: rows or targets that do not fit.
        RangeError: an option outside its range, a layer that is none.
        DtypeError: integers, which have no slopes.

    Source: Springenberg et al., "Striving for simplicity: the all convolutional net", 2015.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense.of(jnp.eye(2), None, px.relu), px.Dense.of(jnp.array([[1.0], [-2.0]]), None))
    >>> px.interpret.guided_backprop(model, jnp.array([[3.0, 1.0]])).values.tolist()
    [[1.0, 0.0]]
    """
    asked = ask(model, x, target, "px.interpret.guided_backprop", layer=layer, neuron=neuron, forward=forward)
    return _attribution(asked, "guided_backprop", target, layer, batch_size, progress)


@answering
def deconvolution(
    model: Any,
    x: Any,
    *,
    target: Target = None,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Attribution:
    r"""Deconvolution: the gradient, in which a ReLU's slope is a ReLU on the way back: $\bar x = \bar y^+$.

    Shapes, arguments and errors: as of ``guided_backprop``.

    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense.of(jnp.eye(2), None, px.relu), px.Dense.of(jnp.array([[1.0], [2.0]]), None))
    >>> px.interpret.deconvolution(model, jnp.array([[3.0, -1.0]])).values.tolist()
    [[1.0, 2.0]]
    """
    asked = ask(model, x, target, "px.interpret.deconvolution", layer=layer, neuron=neuron, forward=forward)
    return _attribution(asked, "deconvolution", target, layer, batch_size, progress)


def _attribution(
    asked: Asked, method: str, target: Any, layer: str | None, batch_size: Any, progress: Any
) -> Attribution:
    def work(part: Asked, _: Any) -> Any:
        return _back(part.question, part.z, part.context, method)

    scores, values = rounds(asked, 1, work, batch_size=batch_size, progress=progress)
    return Attribution(values, asked.z, method, scores, target=target, layer=layer)


_RULES: dict[str, Callable[[Any, Any], Any]] = {
    "guided_backprop": lambda x, g: jnp.where(x > 0, jnp.maximum(g, 0), 0),
    "deconvolution": lambda x, g: jnp.maximum(g, 0),
}


@jit
def _back(question: Question, z: Any, context: Context, method: str) -> Any:
    lines = lines_of(question, z, context)
    rectifiers = _rectifiers(lines, f"px.interpret.{method}")

    def rule(step: Step, *gs: Any) -> Any:
        if id(step.line) in rectifiers:
            return [_RULES[method](step.xs[0], gs[0]), *[None] * (len(step.xs) - 1)]
        return plain(step, *gs)

    program, values = lines.program, lines.program.run(lines.inputs)
    seed = [jnp.ones_like(values[program.outputs[0]])]
    return question(z, context), lines.found(walk(program, values, seed, lines.wanted, rules_by(rule, lines)))


def _rectifiers(lines: Lines, where: str) -> set[int]:
    """The lines that are max(x, 0), seen by what they give for a few numbers."""
    found = {id(line) for line in lines.program.lines if isinstance(line, Unary) and _rectifies(lines, line)}
    if not found:
        fix = "take px.interpret.saliency or deep_lift, which know all activations"
        raise StructureError("a model with a ReLU", got="none", fix=fix, where=where)
    return found


def _rectifies(lines: Lines, line: Unary) -> bool:
    with jax.ensure_compile_time_eval():
        others = [lines.program.constants.get(n) for n in line.reads[1:]]
        if any(x is None for x in others):
            return False
        return all(float(value_at(lines, line, x)) == max(x, 0.0) for x in (-2.0, -0.5, 0.0, 0.5, 3.0))


def value_at(lines: Lines, line: Unary, x: float) -> Any:
    """What a function of one number gives for a number."""
    type_ = lines.program.types[line.reads[0]]
    others = [lines.program.constants[n] for n in line.reads[1:]]
    return line.run([jnp.full(type_.shape, x, type_.dtype), *others])[0].reshape(-1)[0]
