"""What a trace tells of a prediction: whether it ends in a softmax, in a sigmoid, or in a layer without activation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import functionalize
from phlox.loop._warning import warn
from phlox.loop.steps._by_output import OfOutput
from phlox.loop.steps._weighing import parameters_of
from phlox.nn import plain_form

_PASSING = ("reshape", "squeeze", "broadcast_in_dim", "convert_element_type", "transpose", "copy", "stop_gradient")
_AFFINE = ("dot_general", "conv_general_dilated")


def traced(fn: Callable[..., Any], *args: Any) -> tuple[Any, list[str]]:
    """What ``fn(*args)`` gives, in shapes, and how each array of it comes about: see ``ending``."""
    call = functionalize(fn, args, {}, kind="eval_shape", scalars=True)
    program, outcome = jax.make_jaxpr(lambda *xs: call.pure(*xs), return_shape=True)(call.leaves, call.bare)
    shapes = outcome.record.result.rebuild(outcome.outputs, call.plan.module)
    endings = [ending(program.jaxpr, var) for var in program.jaxpr.outvars[: len(jax.tree.leaves(outcome.outputs))]]
    return shapes, endings


def ending(jaxpr: Any, var: Any) -> str:
    """``"softmax"``, ``"sigmoid"``, ``"affine"`` for a matrix product or convolution and a bias at most, or ``""``."""
    return _ending(_Graph(jaxpr, None, {}), var)


class _Graph:
    """A program, and where it is called from."""

    def __init__(self, jaxpr: Any, around: _Graph | None, given: dict[Any, Any]):
        self.around, self.given = around, given
        self.makers = {id(out): (e, n) for e in jaxpr.eqns for n, out in enumerate(e.outvars)}

    def maker(self, var: Any) -> tuple[_Graph, Any] | None:
        """The operation that gives a variable, in the program that has it; what only passes it on is gone through."""
        graph = self
        while True:
            found = graph.makers.get(id(var))
            if found is None:
                if graph.around is None or id(var) not in graph.given:
                    return None
                graph, var = graph.around, graph.given[id(var)]
                continue
            equation, place = found
            inner = _program_in(equation)
            if inner is not None:
                given = dict(zip(map(id, inner.invars), equation.invars[-len(inner.invars) :], strict=False))
                graph, var = _Graph(inner, graph, given), inner.outvars[place]
            elif equation.primitive.name in _PASSING:
                var = equation.invars[0]
            else:
                return graph, equation


def _ending(graph: _Graph, var: Any) -> str:
    found = graph.maker(var)
    if found is None:
        return ""
    graph, equation = found
    name = equation.primitive.name
    if name == "logistic":
        return "sigmoid"
    if name in _AFFINE:
        return "affine"
    if name == "div" and _made_by(graph, equation.invars[0]) == "exp" and _sums(graph, equation.invars[1]):
        return "softmax"
    if name == "add" and any(_made_by(graph, v) in _AFFINE for v in equation.invars):
        other = [v for v in equation.invars if _made_by(graph, v) not in _AFFINE]
        return "affine" if not other or _made_by(graph, other[0]) is None else ""
    return ""


def _made_by(graph: _Graph, var: Any) -> str | None:
    found = graph.maker(var)
    return None if found is None else found[1].primitive.name


def _sums(graph: _Graph, var: Any) -> bool:
    return _made_by(graph, var) == "reduce_sum"


def _program_in(equation: Any) -> Any:
    """The program that an operation calls, None for one that calls none, or several."""
    if equation.primitive.name in ("while", "scan", "cond"):
        return None
    plain = plain_form(equation)
    if plain is not None:
        return plain
    inner = [v for v in equation.params.values() if hasattr(v, "eqns") or hasattr(v, "jaxpr")]
    if len(inner) != 1:
        return None
    found = getattr(inner[0], "jaxpr", inner[0])
    return found if len(found.outvars) == len(equation.outvars) else None


def warn_of_scale(loss: Any, end: str, metrics: dict[str, Any], output: Any, where: str) -> None:
    """Warn of probabilities where logits are expected, and the other way round, as far as a trace shows it."""
    takes, name = next(iter(parameters_of(loss)), ""), getattr(loss, "__name__", "the loss")
    if takes == "logits" and end in ("softmax", "sigmoid"):
        cure = "leave it out: the loss has its own, and two of them learn slowly and badly"
        warn(f"{where}: {name} expects logits, and the model ends in a {end}; {cure}.")
    if takes == "probabilities" and end == "affine":
        cure = f"end it with px.sigmoid or px.softmax, or take px.losses.{name}_with_logits"
        what = f"{name} expects probabilities, and the model ends in a layer without activation"
        warn(f"{where}: {what}; {cure}.")
    for called, metric in metrics.items():
        inner = metric.metric if isinstance(metric, OfOutput) and metric.output == output else metric
        if getattr(inner, "logits", None) is False and end == "affine":
            kind = type(inner).__name__
            what = f"the metric {called} expects probabilities, and the model ends in a layer without activation"
            warn(f"{where}: {what}; write px.metrics.{kind}(logits=True).")


def where_nan(tree: Any, name: str) -> str:
    """In words, where in data NaN or infinity is: the first array that has some, its columns, or its examples."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if not isinstance(leaf, np.ndarray | jax.Array) or not jnp.issubdtype(leaf.dtype, jnp.floating):
            continue
        bad = ~np.isfinite(np.asarray(leaf))
        if not bad.any():
            continue
        at = f"{name}{jax.tree_util.keystr(path)}"
        if not bad.ndim:
            return f"{at} is not finite"
        rows = np.flatnonzero(bad.reshape(len(bad), -1).any(1))
        examples = f"{len(rows)} of {len(bad)} examples, the first {rows[0]}"
        if bad.ndim == 2:
            columns = np.flatnonzero(bad.any(0))
            shown = ", ".join(map(str, columns[:5])) + (" …" if len(columns) > 5 else "")
            return f"{at} has NaN or infinity in column{'' if len(columns) == 1 else 's'} {shown}, in {examples}"
        return f"{at} has NaN or infinity in {examples}"
    return ""
