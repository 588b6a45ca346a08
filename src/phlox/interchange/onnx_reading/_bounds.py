"""What no file may ask for: more nodes, deeper functions and larger arrays than a machine can be meant to run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from phlox.core import ExportError
from phlox.interchange.onnx_reading._call import LARGEST, Call
from phlox.interchange.onnx_reading._graph import Function, Graph, Node, walk
from phlox.interchange.onnx_reading._known import is_known

MOST = 200_000
"""Nodes that one call may run; a loop counts as often as it is unrolled."""
DEEPEST = 32
"""Functions of the file within functions."""
_LARGEST_KNOWN = 1 << 23
"""Numbers in one array of what is computed while tracing: sizes and masks, no data."""

Functions = Mapping[tuple[str, str], Function]


def check_length(graph: Graph, functions: Functions, where: str) -> None:
    """Refuse a file whose functions are more nodes than may run, before any runs.

    Raises:
        ExportError: they are too many, or functions that call themselves.
    """
    counted: dict[tuple[str, str], int] = {}

    def count(nodes: tuple[Node, ...], depth: int) -> int:
        total = 0
        for node in walk(nodes):
            key = node.domain, node.kind
            if key in functions and key not in counted:
                if depth >= DEEPEST:
                    raise too_deep(node)
                counted[key] = count(functions[key].nodes, depth + 1)
            total += 1 + counted.get(key, 0)
            if total > MOST:
                raise too_many(where)
        return total

    count(graph.nodes, 0)


def too_many(where: str) -> ExportError:
    """The error of more nodes than may run."""
    fix = "write its loops as Loop or Scan, or run a part of it"
    return ExportError(f"at most {MOST} nodes", got="more", fix=fix, where=where, located=True)


def too_deep(node: Node) -> ExportError:
    """The error of functions that call each other without end, or nearly."""
    fix = "the file is not meant to be run"
    got = "a deeper one"
    return ExportError(f"functions at most {DEEPEST} deep", got=got, fix=fix, where=str(node), located=True)


def check_size(call: Call, y: Any) -> None:
    """Refuse a result that no machine holds.

    Raises:
        ExportError: it is one; says its sizes.
    """
    sizes = getattr(y, "shape", ())
    most = _LARGEST_KNOWN if is_known(y) else LARGEST
    if all(isinstance(n, int) for n in sizes) and math.prod(sizes) > most:
        fix = "the file is damaged, or not meant to be run"
        raise call.refusal(f"a result of at most {most} numbers", str(list(sizes)), fix)
