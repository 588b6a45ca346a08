"""A graph run node by node."""

from __future__ import annotations

import contextlib
from collections import ChainMap
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from phlox.core import ExportError, PhloxError
from phlox.interchange.onnx_reading import _bounds
from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._graph import Function, Graph, Node, Reference
from phlox.interchange.onnx_reading._known import has_symbols, hosted, is_known
from phlox.interchange.onnx_reading._layout import plain
from phlox.interchange.onnx_reading.operators import OPERATORS

_SMALL = 1024
_GROW = ("ConstantOfShape", "EyeLike", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample")
"""Operators that make large arrays of small ones, which shall not be constants of a compiled program."""

Names = ChainMap[str, Any]


class Runner:
    """Runs the nodes of one call; counts them, so that no file runs for ever."""

    def __init__(self, functions: Mapping[tuple[str, str], Function], versions: Mapping[str, int]):
        self.functions, self.versions, self.ran, self.depth = functions, versions, 0, 0
        self.root: Mapping[str, Any] = {}  # what the whole graph was given

    def graph(self, graph: Graph, given: Mapping[str, Any]) -> list[Any]:
        """The outputs of a graph, of its inputs and arrays by name."""
        self.root = given
        names: Names = ChainMap(dict(given))
        self._nodes(graph, names, {}, self.versions)
        return _outputs(graph, names)

    def _nodes(
        self, body: Graph | Function, names: Names, scope: Mapping[str, Any], versions: Mapping[str, int]
    ) -> None:
        for node, spent in zip(body.nodes, body.spent, strict=True):
            self._count(node)
            found = self._node(node, names, scope, versions)
            outs = found if isinstance(found, tuple | list) else (found,)
            names.update((n, y) for n, y in zip(node.outputs, outs, strict=False) if n)
            for name in spent:  # so that a run line by line holds no more than it needs
                names.maps[0].pop(name, None)

    def _count(self, node: Node) -> None:
        self.ran += 1
        if self.ran > _bounds.MOST:
            raise _bounds.too_many(str(node))

    def _node(self, node: Node, names: Names, scope: Mapping[str, Any], versions: Mapping[str, int]) -> Any:
        inputs = [_read(names, n, str(node)) if n else None for n in node.inputs]
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
        names.update((inner, self.root[name]) for inner, name in graph.lifted.items())
        names.update((port.name, x) for port, x in zip(graph.inputs, inputs, strict=True))
        self._nodes(graph, names, scope, versions)
        return _outputs(graph, names)

    def _function(self, function: Function, node: Node, inputs: list[Any], attributes: Mapping[str, Any]) -> Any:
        if self.depth >= _bounds.DEEPEST:
            raise _bounds.too_deep(node)
        self.depth += 1
        names: Names = ChainMap(dict.fromkeys(function.inputs))
        names.update(zip(function.inputs, inputs, strict=False))
        self._nodes(function, names, {**function.defaults, **attributes}, {**self.versions, **function.versions})
        self.depth -= 1
        return [_read(names, name, str(node)) for name in function.outputs]


def _outputs(graph: Graph, names: Names) -> list[Any]:
    return [plain(_read(names, port.name, "the outputs")) for port in graph.outputs]


def _read(names: Names, name: str, where: str) -> Any:
    if name not in names:
        fix = "the file is damaged, or asks for what its operators do not give"
        raise ExportError(f"{name!r} from a node before it", got="none", fix=fix, where=where, located=True)
    return names[name]


def _located(operator: Any, call: Call, inputs: list[Any]) -> Any:
    """Run an operator; an error of JAX's or NumPy's becomes that of the node."""
    try:
        found = _ran(operator, call, inputs)
        for y in found if isinstance(found, tuple | list) else (found,):
            _bounds.check_size(call, y)
        return found
    except PhloxError:
        raise
    except Exception as error:
        if any(kind.__name__ == "InconclusiveDimensionOperation" for kind in type(error).__mro__):
            raise  # an exporter says in its own words what that is
        got = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        fix = "give it inputs like those that the file was made for; where they are, the file is damaged"
        raise call.refusal("inputs and attributes that this operator takes", got, fix) from error


def _ran(operator: Any, call: Call, inputs: list[Any]) -> Any:
    if not _is_small(call, inputs):
        return operator(call, *inputs)
    with contextlib.nullcontext() if any(map(has_symbols, inputs)) else jax.ensure_compile_time_eval():
        return _known(operator(call, *inputs))


def _is_small(call: Call, inputs: list[Any]) -> bool:
    """Whether a node is of the part of a program that computes sizes, so that what it gives should be known."""
    if call.node.kind in _GROW or any(isinstance(a, Graph) for a in call.attributes.values()):
        return False
    return bool(inputs) and all(x is None or (is_known(x) and x.size <= _SMALL) for x in inputs)


def _known(found: Any) -> Any:
    if isinstance(found, tuple | list):
        return tuple(map(_known, found))
    found = hosted(found)
    concrete = isinstance(found, jax.Array) and not isinstance(found, Tracer)
    return np.asarray(found) if concrete and found.size <= _SMALL else found


def unknown(nodes: list[Node], version: int) -> ExportError:
    """The error of nodes that there is no operator for."""
    kinds = sorted({f"{n.domain + '.' if n.domain else ''}{n.kind}" for n in nodes})
    fix = "write the model without them, or as functions of the file"
    got = f"{', '.join(kinds)} (version {version}), first at {nodes[0]}"
    return ExportError("operators that have a form in JAX", got=got, fix=fix, where="px.load_onnx")
