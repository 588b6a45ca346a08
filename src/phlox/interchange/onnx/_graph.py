"""A graph while it is written: values, nodes, graphs inside graphs, and the arrays that they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phlox.core import ExportError
from phlox.interchange.onnx._fold import folded

Size = Any
"""A size of an array: an int, or an expression of JAX's symbols."""


@dataclass(frozen=True, eq=False)
class Value:
    """An array of the graph; ``known`` are its numbers, where they do not depend on inputs."""

    name: str
    shape: tuple[Size, ...]
    dtype: Any
    known: np.ndarray | None = None

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.shape)


@dataclass(frozen=True, eq=False)
class Complex:
    """A complex array: ONNX has real ones."""

    re: Value
    im: Value

    @property
    def shape(self) -> tuple[Size, ...]:
        """The sizes of both parts."""
        return self.re.shape

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    @property
    def dtype(self) -> Any:
        """The complex dtype of both parts."""
        return np.dtype("complex128" if self.re.dtype == np.float64 else "complex64")


@dataclass(frozen=True, eq=False)
class Node:
    """An operator applied; an attribute may be a graph."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


class Store:
    """What all graphs of one file share: names, arrays, sizes, and the layer that is being written."""

    arrays: dict[str, Any]
    symbols: dict[str, tuple[Value, int]]

    def __init__(self, opset: int):
        self.opset = opset
        self.layer = ""  # the path of the layer whose operations come
        self.arrays = {}  # by their names; those that no node reads are left out
        self.symbols = {}  # where each symbol is read: an input, and which axis of it
        self.extents: dict[str, Value] = {}  # expressions of symbols that stand in the graph
        self._constants: dict[Any, Value] = {}
        self._taken: dict[str, int] = {}

    def source(self, name: str) -> tuple[Value, int]:
        """Where a symbol is read.

        Raises:
            ExportError: no input has an axis of that size alone.
        """
        if name not in self.symbols:
            raise ExportError(
                f"the size {name} to be a size of some input",
                got=f"inputs with {', '.join(self.symbols) or 'known sizes only'}",
                fix=f"give an axis of an input the size {name} itself, not an expression of it",
                where="ONNX",
            )
        return self.symbols[name]

    def fresh(self, name: str) -> str:
        """The name itself if it is free, else with a number behind it."""
        count = self._taken.get(name, 0)
        self._taken[name] = count + 1
        return name if count == 0 else self.fresh(f"{name}_{count}")

    def place(self, kind: str) -> str:
        """A name for a node of the layer that is being written."""
        return self.fresh(f"{self.layer}/{kind}" if self.layer else kind)

    def constant(self, array: np.ndarray) -> Value:
        """An array of the file; small ones that are equal are one."""
        key = (array.dtype.name, array.shape, array.tobytes()) if array.size <= 1024 else id(array)
        if key not in self._constants:
            held = self.held(f"constant_{len(self._constants)}", array)
            self._constants[key] = Value(held.name, held.shape, held.dtype, array)
        return self._constants[key]

    def held(self, name: str, array: Any) -> Value:
        """An array of the file under a name; nobody looks at its numbers until the file is written."""
        name = self.fresh(name)
        self.arrays[name] = array
        return Value(name, tuple(array.shape), np.dtype(array.dtype))


@dataclass(eq=False)
class Graph:
    """One graph: its inputs, nodes in order, and outputs. Values of the graphs around it may be read in it."""

    store: Store
    name: str = "model"
    around: Graph | None = None
    nodes: list[Node] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    made: list[Value] = field(default_factory=list)

    @property
    def root(self) -> Graph:
        """The outermost graph."""
        return self if self.around is None else self.around.root

    def child(self, name: str) -> Graph:
        """A graph inside this one: the body of a loop, a branch."""
        return Graph(self.store, self.store.place(name), self)

    def input(self, name: str, shape: Sequence[Size], dtype: Any) -> Value:
        """A further input."""
        value = Value(self.store.fresh(name), tuple(shape), np.dtype(dtype))
        self.inputs.append(value)
        return value

    def constant(self, array: Any, dtype: Any = None) -> Value:
        """An array that does not depend on inputs."""
        return self.store.constant(np.asarray(array, dtype))

    def ints(self, numbers: Iterable[int]) -> Value:
        """Whole numbers of 64 bits, as axes and shapes are given."""
        return self.constant(np.array([int(n) for n in numbers], np.int64))

    def op(
        self,
        kind: str,
        *inputs: Value | None,
        shape: Sequence[Size] | None = None,
        dtype: Any = None,
        **attributes: Any,
    ) -> Value:
        """Apply an operator of one output, which has shape and dtype of the first input where none are given."""
        first = inputs[0]
        if first is not None:
            shape = first.shape if shape is None else shape
            dtype = first.dtype if dtype is None else dtype
        assert shape is not None
        array = folded(kind, [None if v is None else v.known for v in inputs], attributes, shape, dtype)
        if array is not None:
            return self.constant(array)
        return self.ops(kind, inputs, [(shape, dtype)], **attributes)[0]

    def ops(
        self, kind: str, inputs: Sequence[Value | None], outs: Sequence[tuple[Sequence[Size], Any]], **attributes: Any
    ) -> list[Value]:
        """Apply an operator whose outputs have these shapes and dtypes."""
        name = self.store.place(kind)
        names = [name if i == 0 else self.store.fresh(f"{name}.{i}") for i in range(len(outs))]
        read = tuple("" if v is None else v.name for v in inputs)
        self.nodes.append(Node(kind, name, read, tuple(names), attributes))
        values = [Value(n, tuple(shape), np.dtype(dtype)) for n, (shape, dtype) in zip(names, outs, strict=True)]
        self.made += values
        return values

    def finish(self, values: Sequence[Value], names: Sequence[str] | None = None) -> None:
        """Make these the outputs: each is made in this graph, under a name of its own."""
        made = {n for node in self.nodes for n in node.outputs}
        for i, v in enumerate(values):
            if names is not None or v.name not in made or any(v.name == o.name for o in self.outputs):
                name = self.store.place("Identity") if names is None else names[i]
                self.nodes.append(Node("Identity", name, (v.name,), (name,), {}))
                v = Value(name, v.shape, v.dtype)
            self.outputs.append(v)
