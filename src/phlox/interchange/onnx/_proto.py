"""The finished graph as a model of the onnx package; the one file that needs it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from phlox.core import MissingExtraError
from phlox.interchange.onnx._graph import Graph, Node, Value
from phlox.interchange.onnx._sizes import is_symbolic
from phlox.interchange.onnx._types import NARROW, element

if TYPE_CHECKING:
    import onnx


def needed() -> Any:
    """The onnx package."""
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError(
            "the package onnx", got=str(error), fix="pip install 'phlox[onnx]'", where="ONNX"
        ) from error
    return onnx


STATE = "phlox.state"
"""Where a file says which of its arrays no gradient reaches: a list of names in JSON."""


def model_proto(graph: Graph, opset: int, state: Sequence[str] = ()) -> onnx.ModelProto:
    """The model: nodes, the arrays that they read, types of inputs and outputs."""
    onnx = needed()
    made = _graph_proto(onnx, graph)
    used = _read_names(graph)
    made.initializer.extend(_tensor(onnx, n, a) for n, a in graph.store.arrays.items() if n in used)
    operators = [onnx.helper.make_opsetid("", opset)]
    version = onnx.helper.find_min_ir_version_for(operators)
    model = onnx.helper.make_model(made, opset_imports=operators, ir_version=version, producer_name="phlox")
    if still := [name for name in state if name in used]:
        model.metadata_props.add(key=STATE, value=json.dumps(still))
    return model


def _graph_proto(onnx: Any, graph: Graph) -> Any:
    nodes = [_node(onnx, n) for n in graph.nodes]
    inputs, outputs = ([_info(onnx, v) for v in values] for values in (graph.inputs, graph.outputs))
    kept = {v.name for v in graph.outputs}
    between = [_info(onnx, v) for v in graph.made if v.name not in kept]
    return onnx.helper.make_graph(nodes, graph.name, inputs, outputs, value_info=between)


def _node(onnx: Any, node: Node) -> Any:
    attributes = {k: _graph_proto(onnx, v) if isinstance(v, Graph) else v for k, v in node.attributes.items()}
    return onnx.helper.make_node(node.kind, node.inputs, node.outputs, name=node.name, **attributes)


def _info(onnx: Any, v: Value) -> Any:
    shape = [str(n) if is_symbolic(n) else int(n) for n in v.shape]
    return onnx.helper.make_tensor_value_info(v.name, element(v.dtype), shape)


def _tensor(onnx: Any, name: str, array: Any) -> Any:
    """Numbers byte by byte, little end first: the same for every dtype."""
    numbers = np.ascontiguousarray(array)
    if numbers.dtype.byteorder == ">":
        numbers = numbers.astype(numbers.dtype.newbyteorder("<"))
    raw = _packed(numbers) if numbers.dtype.name == "int4" else numbers.tobytes()
    kind = NARROW.get(numbers.dtype.name) or element(numbers.dtype)
    tensor = onnx.TensorProto(name=name, data_type=kind, raw_data=raw)
    tensor.dims.extend(np.shape(array))
    return tensor


def _packed(numbers: np.ndarray) -> bytes:
    """Numbers of 4 bits, two to a byte, the first in its low half."""
    flat = numbers.reshape(-1).astype(np.int8) & 15
    low, high = (np.pad(flat, (0, flat.size % 2))[i::2] for i in range(2))
    return (low | high << 4).astype(np.uint8).tobytes()


def _read_names(graph: Graph) -> set[str]:
    """All names that nodes read, within inner graphs too, and outputs."""
    return {name for inner in _graphs(graph) for node in inner.nodes for name in node.inputs} | {
        v.name for v in graph.outputs
    }


def _graphs(graph: Graph) -> Iterator[Graph]:
    yield graph
    for node in graph.nodes:
        for value in node.attributes.values():
            if isinstance(value, Graph):
                yield from _graphs(value)
