"""What nodes and graphs inside of graphs hold becomes arrays of the whole graph, so that it has a name and trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._graph import Graph, Node


def is_floating(array: np.ndarray) -> bool:
    """Whether it may be a weight: numbers that have gradients, along axes."""
    return array.dtype != object and bool(array.ndim) and bool(jnp.issubdtype(array.dtype, jnp.inexact))


def hoisted(graph: Graph) -> Graph:
    """Constant nodes as arrays of their graph, which is how some programs write weights."""
    arrays = {n.outputs[0]: v for n in graph.nodes if (v := _constant(n)) is not None}
    nodes = tuple(_inside(n, hoisted) for n in graph.nodes if _constant(n) is None)
    return replace(graph, nodes=nodes, arrays={**graph.arrays, **arrays})


def _constant(node: Node) -> np.ndarray | None:
    value = node.attributes.get("value") if node.kind == "Constant" and not node.domain else None
    return value if isinstance(value, np.ndarray) else None


def _inside(node: Node, change: Callable[[Graph], Graph]) -> Node:
    """A node whose graphs are changed."""
    changed: Mapping[str, Any] = {k: change(v) if isinstance(v, Graph) else v for k, v in node.attributes.items()}
    return replace(node, attributes=changed) if changed != node.attributes else node


def lifted(graph: Graph) -> Graph:
    """A graph that has the floating arrays of those inside it, by their names, longer where two have the same."""
    taken = {*graph.arrays, *(port.name for port in graph.inputs), *(n for node in graph.nodes for n in node.outputs)}
    moved: dict[str, np.ndarray] = {}

    def named(path: str, name: str) -> str:
        found, again = name, 1
        while found in taken:
            found, again = f"{path}.{name}" + (f".{again}" if again > 1 else ""), again + 1
        taken.add(found)
        return found

    def emptied(inner: Graph, path: str) -> Graph:
        names = {name: named(path, name) for name, array in inner.arrays.items() if is_floating(array)}
        moved.update((new, inner.arrays[name]) for name, new in names.items())
        rest = {name: array for name, array in inner.arrays.items() if name not in names}
        return replace(inner, nodes=within(inner), arrays=rest, lifted=names)

    def within(outer: Graph) -> tuple[Node, ...]:
        return tuple(_inside(n, lambda g, n=n: emptied(g, n.name or n.outputs[0])) for n in outer.nodes)

    nodes = within(graph)
    return replace(graph, nodes=nodes, arrays={**graph.arrays, **moved})
