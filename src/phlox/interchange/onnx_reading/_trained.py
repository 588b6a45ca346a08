"""Numbers that nodes hold as attributes and training moves, as arrays of the graph and inputs of their nodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from phlox.interchange.onnx_reading._graph import Graph, Node

_TRAINED = {
    ("ai.onnx.ml", "LinearRegressor"): ("coefficients", "intercepts"),
    ("ai.onnx.ml", "LinearClassifier"): ("coefficients", "intercepts"),
}


def with_arrays(graph: Graph) -> Graph:
    """A graph whose linear models read their coefficients from arrays, named by their nodes."""
    counted = Counter(node.name for node in graph.nodes)
    pairs = [_read(n, n.name if n.name and counted[n.name] == 1 else next(iter(n.outputs), "")) for n in graph.nodes]
    arrays = {name: array for _, more in pairs for name, array in more.items()}
    return replace(graph, nodes=tuple(node for node, _ in pairs), arrays={**graph.arrays, **arrays})


def _read(node: Node, own: str) -> tuple[Node, dict[str, np.ndarray]]:
    names = _TRAINED.get((node.domain, node.kind), ())
    found = {n: np.asarray(node.attributes[n], np.float32) for n in names if isinstance(node.attributes.get(n), list)}
    if not found or len(node.inputs) != 1:
        return node, {}
    inputs = (*node.inputs, *(f"{own}.{n}" if n in found else "" for n in names))
    left = {k: v for k, v in node.attributes.items() if k not in found}
    return replace(node, inputs=inputs, attributes=left), {f"{own}.{n}": a for n, a in found.items()}
