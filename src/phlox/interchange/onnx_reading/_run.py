"""A graph run node by node."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from functools import partial
from typing import Any

from phlox.core import ExportError, PhloxError
from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._graph import Function, Graph, Node, Reference
from phlox.interchange.onnx_reading.operators import OPERATORS

_MOST = 200_000
"""Nodes that one call may run; a loop counts as often as it is unrolled."""
_DEEPEST = 32
"""Functions of the file within functions."""

Names = ChainMap[str, Any]


class Runner:
    """Runs the nodes of one call; counts them, so that no file runs for ever."""

    def __init__(self, functions: Mapping[tuple[str, str], Function], versions: Mapping[str, int]):
        self.functions, self.versions, self.ran, self.depth = functions, versions, 0, 0

    def graph(self, graph: Graph, given: Mapping[str, Any]) -> list[Any]:
        """The outputs of a graph, of its inputs and arrays by name."""
        names: Names = ChainMap(dict(given))
        self._nodes(graph.nodes, names, {}, self.versions)
        return [names[port.name] for port in graph.outputs]

    def _nodes(self, nodes: Any, names: Names, scope: Mapping[str, Any], versions: Mapping[str, int]) -> None:
        for node in nodes:
            self._count(node)
            found = self._node(node, names, scope, versions)
            outs = found if isinstance(found, tuple | list) else (found,)
            names.update((n, y) for n, y in zip(node.outputs, outs, strict=False) if n)

    def _count(self, node: Node) -> None:
        self.ran += 1
        if self.ran > _MOST:
            fix = "write its loops as Loop or Scan, or run a part of it"
            raise ExportError(f"at most {_MOST} nodes", got="more", fix=fix, where=str(node), located=True)

    def _node(self, node: Node, names: Names, scope: Mapping[str, Any], versions: Mapping[str, int]) -> Any:
        inputs = [names[n] if n else None for n in node.inputs]
        given = {k: scope.get(v.name) if isinstance(v, Reference) else v for k, v in node.attributes.items()}
        attributes = {k: v for k, v in given.items() if v is not None}
        function = self.functions.get((node.domain, node.kind))
        if function is not None:
            return self._function(function, node, inputs, attributes)
        version = versions.get(node.domain, 1)
        operator = OPERATORS.find(node.domain, node.kind, version)
        if operator is None:
            raise unknown([node], version)
        call = Call(node, attributes, version, partial(self._inner, names, scope, versions))
        return _located(operator, call, inputs)

    def _inner(self, outer: Names, scope: Any, versions: Any, graph: Graph, *inputs: Any) -> list[Any]:
        """A graph among the attributes of a node, which reads the names outside it."""
        names = outer.new_child(dict(graph.arrays))
        names.update((port.name, x) for port, x in zip(graph.inputs, inputs, strict=True))
        self._nodes(graph.nodes, names, scope, versions)
        return [names[port.name] for port in graph.outputs]

    def _function(self, function: Function, node: Node, inputs: list[Any], attributes: Mapping[str, Any]) -> Any:
        if self.depth >= _DEEPEST:
            fix = "the file is not meant to be run"
            raise ExportError(
                f"functions at most {_DEEPEST} deep", got="a deeper one", fix=fix, where=str(node), located=True
            )
        self.depth += 1
        names: Names = ChainMap(dict.fromkeys(function.inputs))
        names.update(zip(function.inputs, inputs, strict=False))
        self._nodes(function.nodes, names, {**function.defaults, **attributes}, {**self.versions, **function.versions})
        self.depth -= 1
        return [names[name] for name in function.outputs]


def _located(operator: Any, call: Call, inputs: list[Any]) -> Any:
    """Run an operator; an error of JAX's or NumPy's tells the node."""
    try:
        return operator(call, *inputs)
    except PhloxError:
        raise
    except Exception as error:
        error.add_note(f"at the node {call.node} of the file")
        raise


def unknown(nodes: list[Node], version: int) -> ExportError:
    """The error of nodes that there is no operator for."""
    kinds = sorted({f"{n.domain + '.' if n.domain else ''}{n.kind}" for n in nodes})
    fix = "write the model without them, or as functions of the file"
    got = f"{', '.join(kinds)} (version {version}), first at {nodes[0]}"
    return ExportError("operators that have a form in JAX", got=got, fix=fix, where="px.load_onnx")
