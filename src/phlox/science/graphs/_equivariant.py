"""Graphs in space: features that stay and positions that turn, when all positions turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, ShapeError, check_function, check_size, describe, harmonise, key_or_draw
from phlox.nn import Chain, Dense
from phlox.nn import functional as F
from phlox.nn.init import glorot_uniform
from phlox.science.graphs._graph import Graph
from phlox.science.graphs._message import edges_of, features_of


class EGCL(Module):
    r"""An equivariant graph convolution: $m_{ij} = φ_e(h_i, h_j, \|x_i - x_j\|^2, e_{ij})$, $h_i' = h_i + φ_h(h_i,
    \sum_{j} m_{ij})$, $x_i' = x_i + \frac{1}{|N_i|} \sum_{j} (x_i - x_j)\, φ_x(m_{ij})$.

    The sums go over edges j → i. Turned, mirrored or moved positions x give features h that are the same and positions
    that are turned, mirrored or moved so, in any number of dimensions.

    Shapes:
        h, h': (nodes, size); x, x': (nodes, dims); edges e: (edges, edge_size).

    Arguments:
        size: features of a node.
        width: features of a message, and of what is between the two layers of each φ.
        act: the activation, of φ_e on both its layers.
        edge_size: features of edges; None leaves those that the graph may have alone.
        attention: whether each message is multiplied by a number in 0 … 1 that a layer gives for it, before it is
            summed to h'.
        move: whether positions change; else there is no φ_x, and x' is x.
        key: where weights are drawn from; by default the stream of ``px.seed``.

    Called with ``(graph, h=None, x=None)``, by default the nodes and positions of the graph; gives ``(h', x')``.

    Raises:
        RangeError: a size below 1. ShapeError: a graph without positions, or features of another form.

    Source: Satorras, Hoogeboom and Welling, "E(n) equivariant graph neural networks", 2021.

    >>> import jax.numpy as jnp, phlox as px
    >>> graph = px.science.Graph(jnp.ones((2, 4)), [0, 1], [1, 0], positions=jnp.ones((2, 3)))
    >>> h, x = px.eval_shape(px.science.EGCL(4, 4), graph)
    >>> h.shape, x.shape
    ((2, 4), (2, 3))
    """

    size: int
    width: int
    edge_size: int | None
    messages: Chain[Dense, Dense]
    inference: Dense | None
    motion: Chain[Dense, Dense] | None
    features: Chain[Dense, Dense]

    def __init__(
        self,
        size: int,
        width: int,
        act: Callable[..., Any] = F.silu,
        *,
        edge_size: int | None = None,
        attention: bool = False,
        move: bool = True,
        key: Any = None,
    ):
        self.size, self.width = check_size("EGCL", "size", size), check_size("EGCL", "width", width)
        act = check_function("EGCL", "act", act, "as act(x)")
        self.edge_size = None if edge_size is None else check_size("EGCL", "edge_size", edge_size)
        k = jax.random.split(key_or_draw(key), 7)
        into = 2 * size + 1 + (edge_size or 0)
        self.messages = Chain(Dense(into, width, act, key=k[0]), Dense(width, width, act, key=k[1]))
        self.inference = Dense(width, 1, F.sigmoid, key=k[2]) if attention else None
        calm = glorot_uniform(gain=1e-3)  # positions begin to move slowly, as in the paper's code
        last = Dense(width, 1, bias=False, init=calm, key=k[4])
        self.motion = Chain(Dense(width, width, act, key=k[3]), last) if move else None
        self.features = Chain(Dense(size + width, width, act, key=k[5]), Dense(width, size, key=k[6]))

    def __call__(self, graph: Graph, h: Any = None, x: Any = None) -> tuple[jax.Array, jax.Array]:
        h, _ = harmonise(self, features_of(graph, h, self.size), self.features[1].weight)
        x = _positions_of(graph, x)
        receivers, nodes = graph.receivers, graph.num_nodes
        apart = F.gather(x, receivers) - F.gather(x, graph.senders)
        far, edges = jnp.square(apart).sum(-1, keepdims=True), edges_of(graph, self.edge_size)
        known = [F.gather(h, receivers), F.gather(h, graph.senders), far, *([] if edges is None else [edges])]
        m = self.messages(jnp.concatenate([jnp.asarray(v, h.dtype) for v in known], -1))
        if self.motion is not None:
            x = x + F.segment_mean(apart * self.motion(m), receivers, nodes)
        received = F.segment_sum(m if self.inference is None else m * self.inference(m), receivers, nodes)
        return h + self.features(jnp.concatenate([h, received], -1)), x

    def _brief(self) -> str:
        return f"EGCL({self.size}, {self.width})"


class EGNN(Module):
    r"""An E(n) equivariant graph network: ``EGCL`` layers between a map into features and one out of them.

    Turned, mirrored or moved positions give the same features, and positions that are turned, mirrored or moved so.

    Shapes:
        nodes: (nodes, in); positions, x: (nodes, dims); edges: (edges, edge_size); y: (nodes, out).

    Arguments:
        in_size: features of a node.
        out_size: features that a node gets.
        width: features in between, and of messages.
        act: the activation.
        depth: how many layers.
        edge_size, attention: see ``EGCL``.
        move: whether positions change from layer to layer; else they are those of the graph all through.
        key: where weights are drawn from; by default the stream of ``px.seed``.

    Called with ``(graph, nodes=None, positions=None)``, by default those of the graph; gives ``(y, x)``. Every node
    hears those that edges come from: in a cloud of points all others, or those that are near.

    Raises:
        RangeError: a size below 1. ShapeError: a graph without positions, or features of another form.

    Source: Satorras, Hoogeboom and Welling, "E(n) equivariant graph neural networks", 2021; its form with velocities is
    absent.

    >>> import jax.numpy as jnp, phlox as px
    >>> net = px.science.EGNN(1, 2, 4, depth=1)
    >>> graph = px.science.Graph(jnp.ones((3, 1)), [0, 1, 2], [1, 2, 0], positions=jnp.eye(3))
    >>> y, x = px.eval_shape(net, graph)
    >>> y.shape, x.shape
    ((3, 2), (3, 3))
    """

    in_size: int
    out_size: int
    width: int
    embedding: Dense
    layers: list[EGCL]
    readout: Dense

    def __init__(
        self,
        in_size: int,
        out_size: int,
        width: int = 64,
        act: Callable[..., Any] = F.silu,
        *,
        depth: int = 4,
        edge_size: int | None = None,
        attention: bool = False,
        move: bool = True,
        key: Any = None,
    ):
        self.in_size, self.out_size = check_size("EGNN", "in_size", in_size), check_size("EGNN", "out_size", out_size)
        self.width, depth = check_size("EGNN", "width", width), check_size("EGNN", "depth", depth)
        first, last, *keys = jax.random.split(key_or_draw(key), depth + 2)
        self.embedding, self.readout = Dense(in_size, width, key=first), Dense(width, out_size, key=last)
        self.layers = [
            EGCL(width, width, act, edge_size=edge_size, attention=attention, move=move, key=k) for k in keys
        ]

    def __call__(self, graph: Graph, nodes: Any = None, positions: Any = None) -> tuple[jax.Array, jax.Array]:
        h, x = self.embedding(features_of(graph, nodes, self.in_size)), _positions_of(graph, positions)
        for layer in self.layers:
            h, x = layer(graph, h, x)
        return self.readout(h), x

    def _brief(self) -> str:
        return f"EGNN({self.in_size} → {self.out_size}, width={self.width})"


def _positions_of(graph: Graph, x: Any) -> jax.Array:
    """Positions (nodes, dims), those given or else the graph's own.

    Raises:
        ShapeError: there are none, or others.
    """
    x = graph.positions if x is None else x
    if x is None or jnp.ndim(x) != 2 or x.shape[0] != graph.num_nodes:
        fix = "give the graph positions=…, one row for each node"
        raise ShapeError(f"positions ({graph.num_nodes}, dims)", got=describe(x), fix=fix)
    return jnp.asarray(x)
