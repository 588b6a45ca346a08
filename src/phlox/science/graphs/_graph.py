"""A graph as arrays: one, or several side by side that know nothing of each other."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from phlox.core import DtypeError, RangeError, ShapeError, StructureError, describe
from phlox.nn import functional as F

_ARRAYS = ("nodes", "senders", "receivers", "edges", "positions", "batch")


class Graph:
    """A graph, or several side by side: a pytree, so that loaders and ``px.jit`` take it as it is.

    Shapes:
        nodes: (nodes, features); senders, receivers: (edges,) whole numbers, the nodes that an edge comes from and
        goes to; edges: (edges, features); positions: (nodes, dims); batch: (nodes,) whole numbers.

    Arguments:
        nodes: what is known of each node.
        senders, receivers: edges. A friendship that goes both ways is two of them: see ``to_undirected``.
        edges: what is known of each edge, or None.
        positions: where each node is, for layers that turn with space, or None.
        batch: which graph each node is of, or None where all are of one.
        num_graphs: how many graphs; by default as many as ``batch`` names.

    It does not change; ``replace`` gives another one. ``num_nodes`` and ``num_edges`` are sizes.

    Raises:
        ShapeError: arrays of different lengths.
        DtypeError: nodes named by other numbers than whole ones.
        RangeError: an edge to a node that there is not, where numbers can be read, or a batch index below 0.
        StructureError: an attempt to change it.

    >>> import jax.numpy as jnp, phlox as px
    >>> graph = px.science.Graph(jnp.ones((3, 2)), senders=[0, 1, 2], receivers=[1, 2, 1])
    >>> graph
    Graph(nodes=float32[3, 2], senders=int32[3], receivers=int32[3])
    >>> graph.in_degrees().tolist(), graph.out_degrees().tolist()
    ([0, 2, 1], [1, 1, 1])
    """

    nodes: Any
    senders: Any
    receivers: Any
    edges: Any
    positions: Any
    batch: Any
    num_graphs: int

    def __init__(
        self,
        nodes: Any,
        senders: Any,
        receivers: Any,
        *,
        edges: Any = None,
        positions: Any = None,
        batch: Any = None,
        num_graphs: int | None = None,
    ):
        given = (nodes, senders, receivers, edges, positions, batch)
        found = {name: _array(value) for name, value in zip(_ARRAYS, given, strict=True)}
        _check_lengths(found)
        for name in ("senders", "receivers"):
            _check_names(found[name], found["nodes"].shape[0], name)
        if found["batch"] is None:
            count = 1 if num_graphs is None else num_graphs
        else:
            count = _counted(found["batch"], num_graphs)
        vars(self).update(found, num_graphs=count)

    def __setattr__(self, name: str, value: Any) -> None:
        fix = f"make another one: graph = graph.replace({name}=…)"
        raise StructureError("to stay as it is", got=f"a new {name}", fix=fix, where="Graph")

    def replace(self, **changes: Any) -> Graph:
        """The graph with other arrays."""
        return Graph(**{**vars(self), **changes})

    @property
    def num_nodes(self) -> int:
        """How many nodes, padding among them."""
        return int(self.nodes.shape[0])

    @property
    def num_edges(self) -> int:
        """How many edges, padding among them."""
        return int(self.senders.shape[0])

    @property
    def segments(self) -> Any:
        """(nodes,) which graph each node is of; ``num_graphs`` for padding."""
        return jnp.zeros(self.num_nodes, jnp.int32) if self.batch is None else self.batch

    def in_degrees(self) -> jax.Array:
        """(nodes,) how many edges go to each node."""
        return _counts(self.receivers, self.num_nodes)

    def out_degrees(self) -> jax.Array:
        """(nodes,) how many edges come from each node."""
        return _counts(self.senders, self.num_nodes)

    def node_mask(self) -> jax.Array:
        """(nodes,) true where a node is no padding."""
        return jnp.asarray(self.segments) < self.num_graphs

    def edge_mask(self) -> jax.Array:
        """(edges,) true where an edge is no padding."""
        return self.node_mask()[self.receivers]

    def graph_mask(self) -> jax.Array:
        """(graphs,) true where a graph has nodes, as padding has none."""
        return _counts(self.segments, self.num_graphs) > 0

    def __repr__(self) -> str:
        arrays = [f"{name}={describe(v)}" for name in _ARRAYS if (v := getattr(self, name)) is not None]
        return f"Graph({', '.join(arrays)}{'' if self.batch is None else f', num_graphs={self.num_graphs}'})"


def _counts(which: Any, size: int) -> jax.Array:
    return F.segment_sum(jnp.ones(which.shape, jnp.int32), which, size)


# --- a pytree ----------------------------------------------------------------------------------------


def _flatten(graph: Graph) -> tuple[tuple[Any, ...], int]:
    return tuple(vars(graph)[name] for name in _ARRAYS), graph.num_graphs


def _flatten_with_keys(graph: Graph) -> tuple[list[tuple[Any, Any]], int]:
    return [(jax.tree_util.GetAttrKey(name), vars(graph)[name]) for name in _ARRAYS], graph.num_graphs


def _unflatten(num_graphs: int, arrays: Any) -> Graph:
    """Whatever a tree's leaves have become, unchecked."""
    graph = object.__new__(Graph)
    vars(graph).update(zip(_ARRAYS, arrays, strict=True), num_graphs=num_graphs)
    return graph


jax.tree_util.register_pytree_with_keys(Graph, _flatten_with_keys, _unflatten, _flatten)


# --- checks ------------------------------------------------------------------------------------------


def _array(value: Any) -> Any:
    """Arrays as they are, lists as arrays."""
    return value if value is None or hasattr(value, "dtype") else jnp.asarray(value)


def _check_lengths(found: dict[str, Any]) -> None:
    """Raise unless what goes along nodes has their length, and what goes along edges theirs."""
    nodes, senders = found["nodes"], found["senders"]
    if nodes is None or nodes.ndim < 1:
        fix = "give each node a row; without features, jnp.ones((nodes, 1))"
        raise ShapeError("nodes as (nodes, features)", got=describe(nodes), fix=fix, where="Graph")
    if senders is None or senders.ndim != 1:
        fix = "give one node for each edge: senders, receivers = edge_index"
        raise ShapeError("senders as (edges,)", got=describe(senders), fix=fix, where="Graph")
    lengths = {"receivers": (senders, "edges"), "edges": (senders, "edges"), "positions": (nodes, "nodes")}
    lengths["batch"] = (nodes, "nodes")
    for name, (like, what) in lengths.items():
        value = found[name]
        if value is None and name != "receivers":
            continue
        if value is None or value.ndim < 1 or value.shape[0] != like.shape[0]:
            fix = f"give {name} one row for each of the {what}"
            raise ShapeError(f"{name} as ({like.shape[0]}, ...)", got=describe(value), fix=fix, where="Graph")


def _check_names(names: Any, size: int, what: str) -> None:
    """Raise unless an array names nodes by whole numbers that there are."""
    if not jnp.issubdtype(names.dtype, jnp.integer):
        fix = "number the nodes from 0, and cast: .astype('int32')"
        raise DtypeError(f"{what} of whole numbers", got=describe(names), fix=fix, where="Graph")
    if not _readable(names) or not names.size:
        return
    low, high = int(np.min(names)), int(np.max(names))
    if low < 0 or high >= size:
        got = str(low if low < 0 else high)
        raise RangeError(f"{what} in 0 … {size - 1}", got=got, fix="number the nodes from 0", where="Graph")


def _counted(batch: Any, num_graphs: int | None) -> int:
    """How many graphs there are, by the batch index where nobody says it."""
    if not jnp.issubdtype(batch.dtype, jnp.integer):
        raise DtypeError("batch of whole numbers", got=describe(batch), fix="number the graphs from 0", where="Graph")
    if num_graphs is not None:
        return num_graphs
    if not _readable(batch):
        fix = "give num_graphs=, as sizes must be known in compiled code"
        raise RangeError("num_graphs where batch cannot be read", got="None", fix=fix, where="Graph")
    if batch.size and int(np.min(batch)) < 0:
        got = str(int(np.min(batch)))
        raise RangeError("a batch index of at least 0", got=got, fix="number the graphs from 0", where="Graph")
    return int(np.max(batch)) + 1 if batch.size else 0


def _readable(x: Any) -> bool:
    return isinstance(x, (np.ndarray, jax.Array)) and not isinstance(x, Tracer)
