"""Messages along edges: what all layers of graphs have in common."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, ShapeError, describe, harmonise
from phlox.nn import functional as F
from phlox.science.graphs._graph import Graph

_REDUCTIONS = {"sum": F.segment_sum, "mean": F.segment_mean, "max": F.segment_max, "min": F.segment_min}


class GraphLayer(Module):
    """What is called with a graph and features of its nodes, ``layer(graph, x)``: the base that ``GraphChain`` knows.

    Without ``x`` it takes ``graph.nodes``.
    """


class MessagePassing(GraphLayer):
    r"""The base of layers in which nodes hear from their neighbours: $y_i = U(x_i, \bigoplus_{e:\, j → i} M(x_i, x_j,
    e))$.

    A subclass writes ``message(receiver, sender, edge)``, M for all edges at once, ``update(x, received)``, U for all
    nodes, or both; without them a message is what its sender has, and a node becomes what it received.

    Shapes:
        x: (nodes, features); receiver, sender: (edges, features), x of both ends of each edge; edge: (edges,
        features) or None, as in the graph; messages: (edges, ...); received: (nodes, ...).

    Arguments:
        aggregate: ⊕, ``"sum"``, ``"mean"``, ``"max"`` or ``"min"``; a node that hears nothing gets 0. An attribute: a
            subclass may set it without calling this constructor.

    Called with ``(graph, x=None)``; ``propagate`` gives what is received, before the update.

    Raises:
        RangeError: another aggregate.
        ShapeError: features that are not those of the graph's nodes, or messages that are not one for each edge.

    Source: Gilmer et al., "Neural message passing for quantum chemistry", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> class Differences(px.science.MessagePassing):
    ...     def message(self, receiver, sender, edge):
    ...         return sender - receiver
    >>> graph = px.science.Graph(jnp.array([[1.0], [2.0], [4.0]]), senders=[0, 2, 1], receivers=[1, 1, 2])
    >>> Differences("mean")(graph).tolist()
    [[0.0], [0.5], [-2.0]]
    """

    aggregate: str = "sum"

    def __init__(self, aggregate: str = "sum"):
        self.aggregate = check_aggregate(type(self).__name__, aggregate)

    def message(self, receiver: Any, sender: Any, edge: Any) -> Any:
        """What is sent along each edge."""
        del receiver, edge
        return sender

    def update(self, x: Any, received: Any) -> Any:
        """What each node becomes."""
        del x
        return received

    def __call__(self, graph: Graph, x: Any = None) -> Any:
        (x,) = harmonise(self, features_of(graph, x))
        return self.update(x, self.propagate(graph, x))

    def propagate(self, graph: Graph, x: Any) -> jax.Array:
        """What each node receives, (nodes, ...)."""
        messages = self.message(F.gather(x, graph.receivers), F.gather(x, graph.senders), graph.edges)
        if jnp.ndim(messages) < 1 or messages.shape[0] != graph.num_edges:
            fix = "let message() keep the axis of edges in front"
            raise ShapeError(f"messages ({graph.num_edges}, ...)", got=describe(messages), fix=fix)
        return aggregated(messages, graph.receivers, graph.num_nodes, self.aggregate)

    def _brief(self) -> str:
        return f"{type(self).__name__}({self.aggregate!r})"


def check_aggregate(layer: str, aggregate: Any) -> str:
    """The name of a way to put messages together."""
    if aggregate not in _REDUCTIONS:
        *names, last = (f"'{name}'" for name in _REDUCTIONS)
        fix = "write aggregate='sum'" if aggregate == "add" else "choose one of them"
        raise RangeError(f"aggregate as {', '.join(names)} or {last}", got=repr(aggregate), fix=fix, where=layer)
    return str(aggregate)


def aggregated(values: Any, segments: Any, size: int, aggregate: str) -> jax.Array:
    """The rows of each segment as one, (size, ...), zeros where a segment has none.

    Raises:
        RangeError: another aggregate.
    """
    reduce = _REDUCTIONS[check_aggregate("MessagePassing", aggregate)]
    y = reduce(values, segments, size)
    if aggregate in ("sum", "mean"):
        return y
    some = F.segment_sum(jnp.ones(segments.shape, jnp.int32), segments, size) > 0
    return jnp.where(some.reshape(-1, *[1] * (y.ndim - 1)), y, jnp.zeros((), y.dtype))


def features_of(graph: Any, x: Any, size: int | None = None) -> Any:
    """Features of the nodes, (nodes, size): those given, or else the graph's own.

    Raises:
        ShapeError: others, or no graph.
    """
    if not isinstance(graph, Graph):
        fix = "call it as layer(graph, x), with a px.science.Graph(nodes, senders, receivers)"
        raise ShapeError("a graph first", got=describe(graph), fix=fix)
    x = graph.nodes if x is None else x
    features = "..." if size is None else str(size)
    ndim = jnp.ndim(x)
    if ndim < 1 or x.shape[0] != graph.num_nodes or (size is not None and (ndim != 2 or x.shape[1] != size)):
        fix = "give one row for each node" + ("" if size is None else f", of {size} features")
        raise ShapeError(f"({graph.num_nodes}, {features}) for a graph of so many nodes", got=describe(x), fix=fix)
    return x


def edges_of(graph: Graph, size: int | None) -> Any:
    """Features of the edges, (edges, size); None where a layer takes none.

    Raises:
        ShapeError: others.
    """
    if size is None:
        return None
    edges = graph.edges
    if edges is None or edges.ndim != 2 or edges.shape[1] != size:
        fix = "give the graph edges=…, or the layer edge_size=None"
        raise ShapeError(f"a graph whose edges are ({graph.num_edges}, {size})", got=describe(edges), fix=fix)
    return edges
