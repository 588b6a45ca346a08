"""The rules in their order, each over the whole graph until none finds anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from phlox.interchange.onnx.tidy import (
    _arithmetic,
    _batch_norm,
    _clean,
    _conv,
    _fold,
    _gelu,
    _layout,
    _linear,
    _norms,
    _quantized,
    _softmax,
)

Rule = Callable[[ir.Node], bool]
Table = Mapping[str, tuple[Rule, ...]]

_MOST = 100  # sweeps; each takes away nodes or moves a transpose towards the end, so that far fewer do


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function as a graph that runs fast: whole operators, few transposes, no operation for nothing.

    Operations that do nothing go. Softmax, gelu, layer and batch normalisation become one operator each, where the
    model's opset has it. What depends on no input is computed. Transposes around convolutions cancel. A weight keeps
    the name that it has, also where a convolution wants its axes in another order.

    Arguments:
        model: a valid model; it is not changed. Sizes may be names.

    Source: the operators' definitions, https://onnx.ai/onnx/operators.

    >>> import onnx
    >>> text = '<ir_version: 9, opset_import: ["": 18]> f (float[n, 4] x) => (float[n, 4] y) {'
    >>> tidied = tidy(onnx.parser.parse_model(text + "a = Identity (x) b = Relu (a) y = Identity (b) }"))
    >>> [node.op_type for node in tidied.graph.node]
    ['Relu']
    """
    graph = ir.from_proto(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
    version = graph.opset_imports.get("", 0)
    known = _joined(_clean.RULES, _fold.EARLY, _recognised(version), _arithmetic.RULES, _linear.RULES)
    _sweep(graph, known)
    _sweep(graph, _joined(known, _fold.RULES, _quantized.RULES, _conv.RULES, _layout.RULES))
    _sweep(graph, _joined(_batch_norm.LAST, _linear.LAST, _clean.RULES, _fold.RULES, _quantized.RULES, _layout.RULES))
    common.NameFixPass()(graph)
    _name_results(graph.graph)
    return ir.to_proto(graph)


def _name_results(graph: ir.Graph) -> None:
    """Call what new nodes make by their names, as what the others make is."""
    made = [node.outputs[0] for node in graph if re.fullmatch(r"val_\d+", node.outputs[0].name or "")]
    taken = {v.name for node in graph.all_nodes() for v in (*node.outputs, *node.inputs) if v is not None}
    taken |= {v.name for v in graph.inputs}
    for value in made:
        node = value.producer()
        if node is not None and node.name and node.name not in taken:
            value.name = node.name
            taken.add(node.name)


def _recognised(version: int) -> Table:
    """Operators made of what they are, for graphs of an opset."""
    rms = _norms.rms_norm(version)
    by_opset: Table = {"Mul": (_gelu.gelu(version), rms), "Div": (rms,)}
    return _joined(_softmax.RULES, _norms.RULES, _batch_norm.RULES, by_opset)


def _joined(*tables: Table) -> Table:
    """All rules of several tables, by operator, those of the first tried first."""
    names = {op for table in tables for op in table}
    return {op: tuple(rule for table in tables for rule in table.get(op, ())) for op in names}


def _sweep(model: ir.Model, rules: Table) -> None:
    """Apply rules, take equal computations together and remove what nobody reads, until nothing changes."""
    common.ShapeInferencePass(strict_mode=False)(model)
    for _ in range(_MOST):
        common.CommonSubexpressionEliminationPass()(model)
        common.RemoveUnusedNodesPass()(model)
        found = [_swept(graph, rules) for graph in model.graphs()]
        if not any(found):
            return


def _swept(graph: Iterable[ir.Node], rules: Table) -> bool:
    """Apply to each node the first rule that takes it; whether any did."""
    found = False
    for node in graph:
        if node.domain == "" and any(rule(node) for rule in rules.get(node.op_type, ())):
            found = True
    return found
