"""Sizes that inputs decide: expressions of JAX's symbols, computed in the graph, each once."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from phlox.core import ExportError
from phlox.interchange.onnx._graph import Graph, Size, Value
from phlox.interchange.onnx._types import INT64


def is_symbolic(size: Size) -> bool:
    """Whether a size is an expression, no number."""
    return not isinstance(size, (int, np.integer))


def same(a: Sequence[Size], b: Sequence[Size]) -> bool:
    """Whether two shapes are surely equal."""
    return len(a) == len(b) and all(m == n for m, n in zip(a, b, strict=True))


def broadcast(*shapes: Sequence[Size]) -> tuple[Size, ...]:
    """The shape of arithmetic on arrays of these shapes."""
    rank = max(map(len, shapes))
    aligned = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    return tuple(next((n for n in sizes if is_symbolic(n) or n != 1), 1) for sizes in zip(*aligned, strict=True))


def product(shape: Sequence[Size]) -> Size:
    """The number of elements."""
    n: Size = 1
    for size in shape:
        n = n * size
    return n


def extent(graph: Graph, size: Size) -> Value:
    """A size as whole numbers of shape (1,); expressions are computed in the outermost graph, from shapes of inputs."""
    if not is_symbolic(size):
        return graph.ints([size])
    text = str(size)
    return _once(graph, text, lambda root: _Reader(root).value(ast.parse(text.replace("^", "**"), mode="eval").body))


def extents(graph: Graph, shape: Sequence[Size]) -> Value:
    """A shape as whole numbers of shape (rank,)."""
    if not any(map(is_symbolic, shape)):
        return graph.ints(shape)
    return _once(graph, ", ".join(map(str, shape)), lambda root: _joined(root, shape))


def _once(graph: Graph, text: str, write: Callable[[Graph], Value]) -> Value:
    """What an expression is, written where it is asked for first, before all that reads it."""
    store = graph.store
    if text not in store.extents:
        layer, store.layer = store.layer, "sizes"
        try:
            store.extents[text] = write(graph.root)
        finally:
            store.layer = layer
    return store.extents[text]


def _joined(graph: Graph, shape: Sequence[Size]) -> Value:
    """Known sizes that follow each other as one array, between those that are computed."""
    parts: list[Value] = []
    for symbolic, group in itertools.groupby(shape, is_symbolic):
        sizes = list(group)
        parts += [extent(graph, n) for n in sizes] if symbolic else [graph.ints(sizes)]
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, shape=(len(shape),), axis=0)


def scalar(graph: Graph, size: Size) -> Value:
    """A size as a whole number without axes."""
    return graph.op("Squeeze", extent(graph, size), graph.ints([0]), shape=())


class _Reader:
    """Writes the nodes of an expression in the form in which JAX prints it."""

    def __init__(self, graph: Graph):
        self.graph = graph

    def value(self, tree: ast.AST) -> Value:
        match tree:
            case ast.Constant(value=int(n)):
                return self.graph.ints([n])
            case ast.Name(id=name):
                return self._symbol(name)
            case ast.UnaryOp(op=ast.USub(), operand=x):
                return self._op("Neg", self.value(x))
            case ast.BinOp(left=x, op=ast.Pow(), right=ast.Constant(value=int(n))):
                return self._power(self.value(x), n)
            case ast.BinOp(left=x, op=op, right=y) if type(op) in _OPERATORS:
                return self._op(_OPERATORS[type(op)], self.value(x), self.value(y))
            case ast.Call(func=ast.Name(id=name), args=[x, y]) if name in _FUNCTIONS:
                return _FUNCTIONS[name](self, self.value(x), self.value(y))
        raise ExportError("sizes made by +, -, *, //, %, max and min", got=ast.unparse(tree), where="ONNX")

    def _op(self, kind: str, *xs: Value) -> Value:
        return self.graph.op(kind, *xs, shape=(1,), dtype=INT64)

    def _symbol(self, name: str) -> Value:
        return _once(self.graph, name, lambda root: self._read(name))

    def _read(self, name: str) -> Value:
        value, axis = self.graph.store.source(name)
        return self.graph.ops("Shape", [value], [((1,), INT64)], start=axis, end=axis + 1)[0]

    def _power(self, x: Value, n: int) -> Value:
        y = x
        for _ in range(n - 1):
            y = self._op("Mul", y, x)
        return y

    def _floor(self, x: Value, y: Value) -> Value:
        return self._op("Div", self._op("Sub", x, self._op("Mod", x, y)), y)


_OPERATORS: dict[type, str] = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}
_FUNCTIONS: dict[str, Callable[[_Reader, Value, Value], Value]] = {
    "floordiv": _Reader._floor,
    "mod": lambda self, x, y: self._op("Mod", x, y),
    "max": lambda self, x, y: self._op("Max", x, y),
    "min": lambda self, x, y: self._op("Min", x, y),
}
