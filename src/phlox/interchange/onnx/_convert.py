"""From a traced program to a graph: each operation by its rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from phlox.core import ExportError, layer_of
from phlox.interchange.onnx._build import cast
from phlox.interchange.onnx._graph import Complex, Graph, Value
from phlox.interchange.onnx._parts import is_complex
from phlox.interchange.onnx._step import Rule, Step
from phlox.interchange.onnx._types import FLOAT32
from phlox.interchange.onnx.rules import (
    _arithmetic,
    _control,
    _convolutions,
    _indexing,
    _logic,
    _products,
    _quantized,
    _reductions,
    _refused,
    _shapes,
    _sorting,
    _windows,
)
from phlox.interchange.onnx.rules._complex import BY_PARTS, COMPLEX, by_parts, dot

_FAMILIES = (
    _arithmetic, _control, _convolutions, _indexing, _logic, _products, _quantized, _reductions, _refused, _shapes,
    _sorting, _windows,
)  # fmt: skip
RULES: dict[str, Rule] = {name: rule for family in _FAMILIES for name, rule in family.RULES.items()}
"""The rule of each of JAX's operations on real arrays."""

_BFLOAT = "bfloat16"


class Converter:
    """Writes programs into graphs."""

    def __init__(self, root: str):
        self.root = root  # what the model is called, for errors

    def run(self, graph: Graph, jaxpr: Any, values: Sequence[Any], layer: str = "") -> list[Any]:
        """Write a program; gives its results."""
        body, consts = (jaxpr.jaxpr, jaxpr.consts) if hasattr(jaxpr, "consts") else (jaxpr, ())
        known = dict(zip(body.constvars, (_constant(graph, c) for c in consts), strict=True))
        known.update(zip(body.invars, values, strict=True))
        for eqn in body.eqns:
            inputs = [_read(graph, known, v) for v in eqn.invars]
            outs = self._equation(graph, eqn, inputs, layer_of(eqn) or layer)
            known.update(zip(eqn.outvars, outs, strict=True))
        return [_read(graph, known, v) for v in body.outvars]

    def _equation(self, graph: Graph, eqn: Any, inputs: list[Any], layer: str) -> list[Any]:
        store, outer = graph.store, graph.store.layer
        where = f"{self.root}.{layer}" if layer else self.root
        run = partial(self.run, layer=layer)
        step = Step(eqn.primitive.name, eqn.params, tuple(v.aval for v in eqn.outvars), run, where)
        store.layer = layer
        try:
            result = _written(graph, step, inputs)
        finally:
            store.layer = outer
        return list(result) if isinstance(result, (list, tuple)) else [result]


def _written(graph: Graph, step: Step, inputs: list[Any]) -> Any:
    """One operation by the rule for its dtypes."""
    rule = RULES.get(step.kind)
    if step.kind not in _control.HANDED_ON and any(map(_is_extended, (*inputs, *step.outs))):
        rule = RULES["random_bits"]
        return rule(graph, step, *inputs)
    if step.kind in _control.RULES:
        return _control.RULES[step.kind](graph, step, *inputs)
    if any(isinstance(x, Complex) for x in inputs) or any(map(is_complex, step.outs)):
        return _complex(graph, step, inputs, rule)
    if rule is None:
        raise step.refusal("no form of it is known", "put other operations in its place")
    if any(_is_narrow(x) for x in (*inputs, *step.outs)):
        return _widened(rule, graph, step, inputs)
    return rule(graph, step, *inputs)


def _complex(graph: Graph, step: Step, inputs: list[Any], rule: Rule | None) -> Any:
    if step.kind in COMPLEX:
        return COMPLEX[step.kind](graph, step, *inputs)
    if rule is not None and step.kind == "dot_general":
        return dot(rule, graph, step, *inputs)
    if rule is not None and step.kind in BY_PARTS:
        return by_parts(rule, graph, step, *inputs)
    raise step.refusal("complex numbers", "compute with real and imaginary parts")


# --- bfloat16, which readers store and do not compute with ------------------------------------------------


def _is_narrow(x: Any) -> bool:
    return getattr(x.dtype, "name", "") == _BFLOAT


def _is_extended(x: Any) -> bool:
    """Whether it is a key of a random stream, whose dtype NumPy does not know."""
    return not isinstance(x.dtype, np.dtype)


class _Wide:
    """A type as float32."""

    def __init__(self, shape: Any):
        self.shape, self.dtype = shape, FLOAT32


def _widened(rule: Rule, graph: Graph, step: Step, inputs: list[Value]) -> list[Value]:
    """In float32, rounded afterwards."""
    outs = tuple(_Wide(v.shape) if _is_narrow(v) else v for v in step.outs)
    wide = [cast(graph, x, FLOAT32) if _is_narrow(x) else x for x in inputs]
    result = rule(graph, Step(step.kind, step.params, outs, step.run, step.layer), *wide)
    results = result if isinstance(result, list) else [result]
    return [cast(graph, y, v.dtype) for y, v in zip(results, step.outs, strict=True)]


# --- reading a program ------------------------------------------------------------------------------------


def _read(graph: Graph, known: Mapping[Any, Any], v: Any) -> Any:
    if hasattr(v, "val"):
        return _constant(graph, v.val, v.aval.dtype)
    return known[v]


def _constant(graph: Graph, value: Any, dtype: Any = None) -> Any:
    """An array of the program itself; keys of random streams stay what they are until something reads them."""
    if isinstance(value, Value | Complex):
        return value
    if not isinstance(getattr(value, "dtype", np.dtype(float)), np.dtype):
        return value
    array = np.asarray(value, dtype)
    if array.dtype.kind == "c":
        return Complex(graph.constant(np.real(array)), graph.constant(np.imag(array)))
    return graph.constant(array)


def refuse_complex(name: str, types: Sequence[Any]) -> None:
    """Refuse complex arrays where readers need real ones."""
    for t in types:
        if is_complex(t):
            raise ExportError(
                f"{name} of real arrays", got=str(t), fix="pass and return real and imaginary parts", where="ONNX"
            )
