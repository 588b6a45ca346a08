"""What a loaded file is made of, and how it prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phlox.core import plain_text
from phlox.interchange.onnx_reading._graph import Graph, Port
from phlox.interchange.onnx_reading._roles import uses

_WIDTH = 110


@dataclass(frozen=True)
class OnnxOperator:
    """How often a graph has an operator, graphs inside of it included, and what it reads of weights."""

    name: str
    nodes: int
    parameters: int
    """Numbers that are trained; an array counts where it is read first."""


@dataclass(frozen=True)
class OnnxArray:
    """An array of a file, and the operators that read it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    trained: bool
    readers: tuple[str, ...]


@dataclass(frozen=True)
class OnnxStructure:
    """What a loaded file is made of; printing it gives the tables.

    ``.operators`` has a row for each kind, the most frequent first, ``.arrays`` one for each array that is trained, and
    for each that is not but is data. Numbers of the program, such as sizes and axes, are left out.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    versions: Mapping[str, int]
    operators: tuple[OnnxOperator, ...]
    arrays: tuple[OnnxArray, ...]

    @property
    def parameters(self) -> int:
        """Numbers that are trained."""
        return sum(a.size for a in self.arrays if a.trained)

    @property
    def nodes(self) -> int:
        """Nodes, those of graphs inside included."""
        return sum(o.nodes for o in self.operators)

    def __rich__(self) -> Any:
        """The tables, for rich."""
        from rich.console import Group
        from rich.text import Text

        opsets = ", ".join(f"{domain or 'ONNX'} {version}" for domain, version in self.versions.items())
        head = f"{self.name}({', '.join(self.inputs)}) → {', '.join(self.outputs)}"
        other = sum(a.size for a in self.arrays if not a.trained)
        foot = f"{self.nodes} nodes, {self.parameters:,} parameters, {other:,} numbers of state; operators of {opsets}"
        return Group(Text(head), self._operators(), Text(""), self._arrays(), Text(foot))

    def _operators(self) -> Any:
        rows = [(o.name, str(o.nodes), f"{o.parameters:,}" if o.parameters else "") for o in self.operators]
        return _table(("operator", "nodes", "parameters"), rows, "lrr")

    def _arrays(self) -> Any:
        roles = {True: "weight", False: "state"}
        rows = [
            (a.name, f"{a.dtype}{list(a.shape)}", f"{a.size:,}", roles[a.trained], ", ".join(a.readers))
            for a in self.arrays
        ]
        return _table(("array", "is", "numbers", "role", "read by"), rows, "llrll")

    def __str__(self) -> str:
        return plain_text(self, _WIDTH)

    __repr__ = __str__


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> Any:
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    for name, side in zip(names, sides, strict=True):
        table.add_column(name, justify="right" if side == "r" else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def structure(
    name: str, graph: Graph, versions: Mapping[str, int], inputs: Sequence[Port], **arrays: Any
) -> OnnxStructure:
    """The tables of a graph whose ``weights`` and ``state`` are given by name."""
    readers: dict[str, Counter[str]] = {n: Counter() for held in arrays.values() for n in held}
    nodes: Counter[str] = Counter()
    parameters: Counter[str] = Counter()
    for node, names in uses(graph):
        kind = f"{node.domain}.{node.kind}" if node.domain else node.kind
        nodes[kind] += 1
        for read in dict.fromkeys(n for n in names if n in readers):
            parameters[kind] += 0 if readers[read] or read not in arrays["weights"] else arrays["weights"][read].size
            readers[read][kind] += 1
    operators = tuple(OnnxOperator(kind, count, parameters[kind]) for kind, count in nodes.most_common())
    rows = tuple(
        OnnxArray(n, a.dtype.name, tuple(a.shape), int(a.size), role == "weights", tuple(readers[n]))
        for role, held in arrays.items()
        for n, a in held.items()
    )
    outs = tuple(map(str, graph.outputs))
    return OnnxStructure(name, tuple(map(str, inputs)), outs, versions, operators, rows)
