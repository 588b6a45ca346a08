"""Layer-wise relevance propagation: a score handed back layer by layer, as a quantity that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp

from phlox.autodiff import walk
from phlox.core import Module, RangeError, answering, jit, modules
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import Asked, ask
from phlox.interpret.asking._question import Context, Forward, Question
from phlox.interpret.asking._rounds import rounds
from phlox.interpret.asking._targets import Target
from phlox.interpret.asking._trees import or_zeros, row_sums
from phlox.interpret.rewriting._lines import Lines, Unary, lines_of, rules_by
from phlox.interpret.rewriting._relevance_rules import AlphaBeta, Epsilon, Gamma, Rule, relevance

_WHERE = "px.interpret.lrp"


@answering
def lrp(
    model: Any,
    x: Any,
    *,
    target: Target = None,
    rules: Rule | Mapping[str, Rule] | None = None,
    layer: str | None = None,
    neuron: Target = None,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Attribution:
    r"""Layer-wise relevance propagation: $R_i = \sum_j \frac{x_i w_{ij}}{z_j} R_j$, from the score back to the input.

    What arrives at a layer goes on, less what its bias added: without biases the values sum to the score.
    Normalisation, gates and attention's weights count as factors; a product of two activations gives half to each.

    Shapes:
        x: a tree of (rows, …); values: the same.

    Arguments:
        model, x, target, layer, neuron, forward, batch_size, progress: as of ``integrated_gradients``.
        rules: of products with weights: ``Epsilon``, ``Gamma`` or ``AlphaBeta``, one for all or by paths and patterns
            of layers, ``{"layers.*": px.interpret.Gamma(0.25)}``, of which the last that fits counts; None is
            ``Epsilon()``.

    Returns:
        An ``Attribution`` whose delta is the sum of values less the score: what biases kept, and rules gave or took.

    Raises:
        StructureError: an operation that has no rule in ``px.autodiff``.
        ShapeError: rows or targets that do not fit.
        RangeError: a rule for no layer; an option outside its range.
        DtypeError: integers.

    Source: Bach et al., "On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance
    propagation", 2015; Montavon et al., "Layer-wise relevance propagation: an overview", 2019; Arras et al.,
    "Explaining recurrent neural network predictions in sentiment analysis", 2017, for gates; Ali et al., "XAI for
    transformers: better explanations through conservative propagation", 2022, for attention and normalisation.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense.of(jnp.array([[1.0], [2.0]]), None, px.relu))
    >>> px.interpret.lrp(model, jnp.array([[2.0, 1.0]])).values.tolist()
    [[2.0, 2.0]]
    """
    asked = ask(model, x, target, _WHERE, layer=layer, neuron=neuron, forward=forward)
    names = tuple(_checked(model, rules).items())

    def work(part: Asked, _: Any) -> Any:
        return _back(part.question, part.z, part.context, names)

    scores, values = rounds(asked, 1, work, batch_size=batch_size, progress=progress)
    delta = row_sums(values) - scores
    return Attribution(values, asked.z, "lrp", scores, delta=delta, target=target, layer=layer)


def _checked(model: Any, rules: Any) -> dict[str, Rule]:
    rules = {"*": rules} if rules is not None and not isinstance(rules, Mapping) else rules or {}
    paths = list(modules(model)) if isinstance(model, Module) else [""]
    for pattern, rule in rules.items():
        if not isinstance(rule, Epsilon | Gamma | AlphaBeta):
            fix = "write px.interpret.Epsilon(), Gamma() or AlphaBeta()"
            raise RangeError("rules of relevance", got=repr(rule), fix=fix, where=_WHERE)
        if not any(fnmatchcase(path, pattern) for path in paths):
            fix = f"name layers by their paths, such as {', '.join(repr(p) for p in paths[1:5])}"
            raise RangeError("rules for layers of the model", got=repr(pattern), fix=fix, where=_WHERE)
    return dict(rules)


@jit
def _back(question: Question, z: Any, context: Context, rules: Any) -> Any:
    lines = _without_gates(lines_of(question, z, context))
    program, values = lines.program, lines.program.run(lines.inputs)
    seed = [jnp.ones_like(values[program.outputs[0]])]
    back = rules_by(relevance(lines, values, dict(rules)), lines)
    found = lines.found(walk(program, values, seed, lines.wanted, back))
    return question(z, context), or_zeros(lambda v, c: v * c, z, found)


def _without_gates(lines: Lines) -> Lines:
    """Lines in which functions that are not 0 at 0 let nothing back."""
    program = lines.program
    changed = [replace(line, kind="stop_gradient") if _is_gate(lines, line) else line for line in program.lines]
    return replace(lines, program=replace(program, lines=changed))


def _is_gate(lines: Lines, line: Any) -> bool:
    if not isinstance(line, Unary):
        return False
    with jax.ensure_compile_time_eval():
        known = [lines.program.constants.get(n) for n in line.reads[1:]]
        if any(x is None for x in known):
            return False  # it depends on learned numbers
        type_ = lines.program.types[line.reads[0]]
        start = line.run([jnp.zeros(type_.shape, type_.dtype), *known])[0]
        return bool(jnp.any(jnp.abs(start) > 1e-6)) or not bool(jnp.all(jnp.isfinite(start)))
