"""Graphs and nodes as plain data, checked: every name is made once, and before it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from phlox.interchange.onnx_reading._tensors import Tensors

_DEEPEST = 24
"""Graphs within graphs."""

Refuse = Callable[[str, str, str], Exception]
"""``refuse(expected, got, fix)`` makes the error of a file."""
Scopes = tuple[set[str], ...]
"""The names made so far in a graph, behind those of the graphs that it stands in."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operation: what it reads and what it makes, by name."""

    kind: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @cached_property
    def reads(self) -> frozenset[str]:
        """The names that it reads, those outside of its graphs that they read included."""
        inner = [graph.outer for graph in self.attributes.values() if isinstance(graph, Graph)]
        return frozenset(filter(None, self.inputs)).union(*inner)

    def __str__(self) -> str:
        kind = f"{self.domain}.{self.kind}" if self.domain else self.kind
        return f"{kind} {self.name or next(filter(None, self.outputs), '')!r}"


@dataclass(frozen=True)
class Reference:
    """An attribute of a function's node that is one of the function itself."""

    name: str


@dataclass(frozen=True)
class Port:
    """An input or output of a graph; a size is a number, a symbol, or unknown; so may be the shape."""

    name: str
    dtype: np.dtype | None
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        sizes = "" if self.shape is None else "[" + ", ".join("?" if n is None else str(n) for n in self.shape) + "]"
        return f"{self.name} {self.dtype or 'of no numbers'}{sizes}"


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in the order they run."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[Node, ...]
    arrays: Mapping[str, np.ndarray]
    lifted: Mapping[str, str] = field(default_factory=dict)
    """Of a graph inside another: its weights, by the names that the whole file's graph has them under."""

    @cached_property
    def spent(self) -> list[list[str]]:
        """For each node, the names that nobody reads after it."""
        return spent(self.nodes, [port.name for port in self.outputs])

    @cached_property
    def outer(self) -> frozenset[str]:
        """The names outside of it that it may read."""
        read = frozenset(port.name for port in self.outputs).union(*(node.reads for node in self.nodes))
        return read - {port.name for port in self.inputs} - set(self.arrays)

    def walk(self) -> Iterator[Node]:
        """All nodes, those of graphs inside included."""
        return walk(self.nodes)


def walk(nodes: Iterable[Node]) -> Iterator[Node]:
    """Nodes, and those of the graphs in them."""
    for node in nodes:
        yield node
        for value in node.attributes.values():
            if isinstance(value, Graph):
                yield from walk(value.nodes)


@dataclass(frozen=True, eq=False)
class Function:
    """An operator that the file itself defines."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    defaults: Mapping[str, Any]
    versions: Mapping[str, int]

    @cached_property
    def spent(self) -> list[list[str]]:
        """For each node, the names that nobody reads after it."""
        return spent(self.nodes, self.outputs)


def spent(nodes: Sequence[Node], kept: Iterable[str]) -> list[list[str]]:
    """For each node, the names that it is the last to read or to make.

    >>> one, two = (Node("Neg", "", "", (a,), (b,), {}) for a, b in ("xy", "yz"))
    >>> spent([one, two], ["z"])
    [['x'], ['y']]
    """
    seen = set(kept)
    found = []
    for node in reversed(nodes):
        names = node.reads.union(filter(None, node.outputs)) - seen
        seen |= names
        found.append(sorted(names))
    return found[::-1]


class Reader:
    """Makes plain data of the onnx package's messages."""

    def __init__(self, tensors: Tensors, refuse: Refuse):
        self.tensors, self.refuse = tensors, refuse

    def graph(self, proto: Any, outer: Scopes = ()) -> Graph:
        """A graph and the graphs in it."""
        if len(outer) > _DEEPEST:
            raise self.refuse(f"graphs at most {_DEEPEST} deep", "a deeper one", "the file is not meant to be run")
        self._plain(proto)
        self.tensors.reserve(proto.initializer)
        arrays = {t.name: self.tensors.read(t) for t in proto.initializer}
        ports = tuple(self.port(p) for p in proto.input if outer or p.name not in arrays)
        scopes = (*outer, {*arrays, *(p.name for p in proto.input)})
        nodes = tuple(self.nodes(proto.node, scopes))
        for output in proto.output:
            self._seen(output.name, scopes, "the outputs")
        return Graph(ports, tuple(map(self.port, proto.output)), nodes, arrays)

    def _plain(self, proto: Any) -> None:
        if proto.sparse_initializer:
            raise self.refuse("dense arrays", "sparse initializers", "write them as dense ones")
        self.told(part.name for part in (*proto.initializer, *proto.input, *proto.output, proto))
        for ports in (proto.initializer, proto.input):
            name, times = next(iter(Counter(port.name for port in ports).most_common(1)), ("", 0))
            if times > 1:
                raise self._twice(name)

    def told(self, names: Iterable[Any]) -> None:
        """Refuse names that are no text; a damaged file gives them as bytes."""
        for name in names:
            if not isinstance(name, str):
                raise self.refuse("names that are text", repr(name[:100]), "copy or write the file anew")

    def _twice(self, name: str) -> Exception:
        return self.refuse("names that are made once", f"{name!r} twice", "write the file anew")

    def nodes(self, protos: Any, scopes: Scopes) -> Iterator[Node]:
        """Nodes, each with the names that are made before it: its own graph's last."""
        for proto in protos:
            node = self._node(proto, scopes)
            for name in filter(None, node.inputs):
                self._seen(name, scopes, f"node {node}")
            for name in filter(None, node.outputs):
                if name in scopes[-1]:
                    raise self._twice(name)
                scopes[-1].add(name)
            yield node

    def _seen(self, name: str, scopes: Scopes, reader: str) -> None:
        if not any(name in scope for scope in scopes):
            got = f"{reader} with {name!r}, which nothing makes before it"
            raise self.refuse("nodes in an order in which they can run", got, "the graph has a circle or lacks a node")

    def _node(self, proto: Any, scopes: Scopes) -> Node:
        self.told((proto.op_type, proto.domain, proto.name, *proto.input, *proto.output))
        self.told(a.name for a in proto.attribute)
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        attributes = {a.name: self._attribute(a, scopes) for a in proto.attribute}
        return Node(proto.op_type, domain, proto.name, tuple(proto.input), tuple(proto.output), attributes)

    def _attribute(self, proto: Any, scopes: Scopes) -> Any:
        if proto.ref_attr_name:
            return Reference(proto.ref_attr_name)
        kind = proto.AttributeType.Name(proto.type)
        if kind == "GRAPH":
            return self.graph(proto.g, scopes)
        if kind == "TENSOR":
            self.tensors.reserve([proto.t])
            return self.tensors.read(proto.t)
        if kind in _PLAIN:
            return _PLAIN[kind](proto)
        return None  # a sparse tensor, a type: an operator that needs one says so

    def port(self, proto: Any) -> Port:
        """An input or output."""
        if not proto.type.HasField("tensor_type"):
            return Port(proto.name, None, None)
        kind = proto.type.tensor_type
        shape = tuple(map(_size, kind.shape.dim)) if kind.HasField("shape") else None
        return Port(proto.name, self.tensors.dtype(kind.elem_type), shape)

    def function(self, proto: Any) -> Function:
        """An operator of the file."""
        self.told((proto.domain, proto.name, *proto.input, *proto.output, *(o.domain for o in proto.opset_import)))
        defaults = {a.name: self._attribute(a, (set(),)) for a in proto.attribute_proto}
        nodes = tuple(self.nodes(proto.node, (set(proto.input),)))
        versions = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in proto.opset_import}
        return Function(tuple(proto.input), tuple(proto.output), nodes, defaults, versions)


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "FLOAT": lambda a: a.f,
    "INT": lambda a: a.i,
    "STRING": lambda a: a.s.decode(errors="replace"),
    "FLOATS": lambda a: list(a.floats),
    "INTS": lambda a: list(a.ints),
    "STRINGS": lambda a: [s.decode(errors="replace") for s in a.strings],
}


def _size(dim: Any) -> int | str | None:
    which = dim.WhichOneof("value")
    value = None if which is None else getattr(dim, which) or None
    return value.decode(errors="replace") if isinstance(value, bytes) else value
