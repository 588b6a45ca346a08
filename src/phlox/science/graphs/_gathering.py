"""Graphs put side by side, filled up to one size, and taken apart again; edges that are added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, ShapeError, check_size, describe
from phlox.science.graphs._graph import Graph


def batch_graphs(graphs: Sequence[Graph]) -> Graph:
    """Several graphs as one, in which no edge joins two of them.

    Arrays of NumPy give arrays of NumPy, as a loader wants them.

    Arguments:
        graphs: each with edges' features and positions, or none of them.

    Raises:
        RangeError: no graphs.
        ShapeError: graphs of which some have what others lack, or whose features differ.

    Source: Fey and Lenssen, "Fast graph representation learning with PyTorch Geometric", 2019.

    >>> import numpy as np, phlox as px
    >>> one = px.science.Graph(np.ones((2, 3)), np.array([0]), np.array([1]))
    >>> both = px.science.batch_graphs([one, one])
    >>> both.senders.tolist(), both.batch.tolist(), both.num_graphs
    ([0, 2], [0, 0, 1, 1], 2)
    """
    graphs = list(graphs)
    if not graphs:
        raise RangeError("at least one graph", got="none", fix="leave empty batches out", where="batch_graphs")
    before = np.cumsum([0, *(g.num_nodes for g in graphs)])[:-1]
    *first, total = np.cumsum([0, *(g.num_graphs for g in graphs)]).tolist()
    return Graph(
        _joined("nodes", [g.nodes for g in graphs]),
        _joined("senders", [_moved(g.senders, n) for g, n in zip(graphs, before, strict=True)]),
        _joined("receivers", [_moved(g.receivers, n) for g, n in zip(graphs, before, strict=True)]),
        edges=_joined("edges", [g.edges for g in graphs]),
        positions=_joined("positions", [g.positions for g in graphs]),
        batch=_joined("batch", [_renumbered(g, n, total) for g, n in zip(graphs, first, strict=True)]),
        num_graphs=total,
    )


def pad_graph(graph: Graph, *, nodes: int, edges: int, graphs: int | None = None) -> Graph:
    """A graph filled up to fixed sizes, so that ``px.jit`` compiles once for batches of all sizes.

    Padding nodes are zeros and belong to no graph, padding edges go from the last of them to itself: no layer carries
    anything from them to other nodes, and pooling leaves them out. What counts nodes itself asks ``node_mask``.

    Arguments:
        nodes, edges: how many there shall be; one node more than there are where there are padding edges.
        graphs: how many graphs; the further ones are empty. By default as many as there are.

    Raises:
        RangeError: less than there is.

    Source: as jraph's ``pad_with_graphs``: Godwin et al., "Jraph: a library for graph neural networks in JAX", 2020.

    >>> import numpy as np, phlox as px
    >>> graph = px.science.Graph(np.ones((2, 3), "float32"), np.array([0]), np.array([1]))
    >>> padded = px.science.pad_graph(graph, nodes=4, edges=3)
    >>> padded.senders.tolist(), padded.node_mask().tolist()
    ([0, 3, 3], [True, True, False, False])
    """
    n, e, g = graph.num_nodes, graph.num_edges, graph.num_graphs
    graphs = g if graphs is None else graphs
    for name, asked, there in (("nodes", nodes, n), ("edges", edges, e), ("graphs", graphs, g)):
        if check_size("pad_graph", name, asked, least=0) < there:
            fix = "give the most that a batch has"
            raise RangeError(f"{name} of at least {there}", got=str(asked), fix=fix, where="pad_graph")
    if edges > e and nodes == n:
        fix = f"give nodes={n + 1}"
        raise RangeError("a padding node, which padding edges join", got=f"nodes={n}", fix=fix, where="pad_graph")
    return Graph(
        _filled(graph.nodes, nodes, 0),
        _filled(graph.senders, edges, nodes - 1),
        _filled(graph.receivers, edges, nodes - 1),
        edges=_filled(graph.edges, edges, 0),
        positions=_filled(graph.positions, nodes, 0),
        batch=_filled(_renumbered(graph, 0, graphs), nodes, graphs),
        num_graphs=graphs,
    )


def unbatch_graphs(graph: Graph) -> list[Graph]:
    """The graphs that lie side by side, each by itself, without padding and empty ones.

    The inverse of ``batch_graphs``; it reads numbers, and so is no part of compiled code.

    >>> import numpy as np, phlox as px
    >>> one = px.science.Graph(np.ones((2, 3)), np.array([0]), np.array([1]))
    >>> [g.receivers.tolist() for g in px.science.unbatch_graphs(px.science.batch_graphs([one, one]))]
    [[1], [1]]
    """
    host: dict[str, Any] = {k: v if v is None or k == "num_graphs" else np.asarray(v) for k, v in vars(graph).items()}
    segments = np.asarray(_segments(graph))
    found = []
    for g in range(graph.num_graphs):
        nodes = np.flatnonzero(segments == g)
        if not len(nodes):
            continue
        edges = np.flatnonzero(segments[host["receivers"]] == g)
        at = lambda name, rows: None if host[name] is None else host[name][rows]  # noqa: E731 - used here alone
        place = np.full(graph.num_nodes, -1, host["senders"].dtype)
        place[nodes] = np.arange(len(nodes))
        senders, receivers = place[host["senders"][edges]], place[host["receivers"][edges]]
        positions = at("positions", nodes)
        found.append(Graph(at("nodes", nodes), senders, receivers, edges=at("edges", edges), positions=positions))
    return found


def add_self_loops(graph: Graph, *, edges: Any = 0.0) -> Graph:
    """A graph with one more edge for each node, from it to itself, behind the others.

    Arguments:
        edges: what is known of the new edges, where the graph has features of edges: a number for all, or
            (nodes, features).

    >>> import jax.numpy as jnp, phlox as px
    >>> graph = px.science.Graph(jnp.ones((2, 1)), [0], [1])
    >>> px.science.add_self_loops(graph).receivers.tolist()
    [1, 0, 1]
    """
    n, old = graph.num_nodes, graph.edges
    loops = np.arange(n, dtype=graph.senders.dtype)
    if old is not None:
        new = jnp.broadcast_to(jnp.asarray(edges, old.dtype), (n, *old.shape[1:]))
        old = jnp.concatenate([jnp.asarray(old), new])
    return graph.replace(
        senders=_joined("senders", [graph.senders, loops]),
        receivers=_joined("receivers", [graph.receivers, loops]),
        edges=old,
    )


def to_undirected(graph: Graph) -> Graph:
    """A graph with each edge the other way round too, behind those that there are, with the same features.

    >>> import jax.numpy as jnp, phlox as px
    >>> graph = px.science.to_undirected(px.science.Graph(jnp.ones((3, 1)), [0, 1], [1, 2]))
    >>> graph.senders.tolist(), graph.receivers.tolist()
    ([0, 1, 1, 2], [1, 2, 0, 1])
    """
    return graph.replace(
        senders=_joined("senders", [graph.senders, graph.receivers]),
        receivers=_joined("receivers", [graph.receivers, graph.senders]),
        edges=_joined("edges", [graph.edges, graph.edges]),
    )


def _segments(graph: Graph) -> Any:
    host = isinstance(graph.nodes, np.ndarray)
    return np.zeros(graph.num_nodes, np.int32) if graph.batch is None and host else graph.segments


def _renumbered(graph: Graph, first: int, beyond: int) -> Any:
    """Which graph each node is of, counted from ``first``; padding is of one beyond all."""
    segments = _segments(graph)
    arrays = np if isinstance(segments, np.ndarray) else jnp
    return arrays.where(segments < graph.num_graphs, segments + first, beyond).astype(segments.dtype)


def _moved(names: Any, by: int) -> Any:
    return names + np.asarray(by, names.dtype)


def _joined(name: str, arrays: list[Any]) -> Any:
    """Arrays one below the other; None where all are None."""
    if all(a is None for a in arrays):
        return None
    if any(a is None for a in arrays) or len({a.shape[1:] for a in arrays}) > 1:
        got = " and ".join(dict.fromkeys(map(describe, arrays)))
        fix = "give all graphs the same features"
        raise ShapeError(f"graphs with {name} of one form", got=got, fix=fix, where="batch_graphs")
    host = all(isinstance(a, np.ndarray) for a in arrays)
    return np.concatenate(arrays) if host else jnp.concatenate([jnp.asarray(a) for a in arrays])


def _filled(array: Any, size: int, value: Any) -> Any:
    """An array with more rows of one value; None stays None."""
    if array is None:
        return None
    arrays = np if isinstance(array, np.ndarray) else jnp
    more = arrays.full((size - array.shape[0], *array.shape[1:]), value, array.dtype)
    return arrays.concatenate([array, more])
