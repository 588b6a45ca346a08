"""Layers that weigh neighbours by attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Param, check_function, check_size, harmonise, key_or_draw, param_dtype
from phlox.nn import Dense, Dropout
from phlox.nn import functional as F
from phlox.nn.init import glorot_uniform
from phlox.science.graphs._graph import Graph
from phlox.science.graphs._message import GraphLayer, edges_of, features_of


class _Attention(GraphLayer):
    """What both kinds share: sizes, and what is done with scores once they are there."""

    in_size: int
    out_size: int
    act: Callable[..., Any]
    heads: int
    concat: bool
    negative_slope: float
    dropout: float
    self_loops: bool
    edge_size: int | None
    bias: Param | None  # (heads · out,) or (out,)
    edge: Dense | None
    drop: Dropout | None

    def _begin(
        self,
        in_size: int,
        out_size: int,
        act: Callable[..., Any],
        heads: int,
        concat: bool,
        negative_slope: float,
        dropout: float,
        self_loops: bool,
        edge_size: int | None,
        bias: bool,
        key: Any,
    ) -> None:
        name = type(self).__name__
        self.in_size, self.out_size = check_size(name, "in_size", in_size), check_size(name, "out_size", out_size)
        self.act, self.heads = check_function(name, "act", act, "as act(x)"), check_size(name, "heads", heads)
        self.concat, self.self_loops = bool(concat), bool(self_loops)
        self.negative_slope, self.dropout = float(negative_slope), dropout
        self.edge_size = None if edge_size is None else check_size(name, "edge_size", edge_size)
        along, drawn = jax.random.split(key)
        self.edge = None if edge_size is None else Dense(edge_size, heads * out_size, bias=False, key=along)
        self.drop = Dropout(dropout, key=drawn) if dropout else None
        self.bias = jnp.zeros((heads if concat else 1) * out_size, param_dtype()) if bias else None

    def _split(self, features: jax.Array) -> jax.Array:
        """(n, heads · out) as (n, heads, out)."""
        return features.reshape(-1, self.heads, self.out_size)

    def _edges(self, graph: Graph) -> tuple[Any, Any, Any, jax.Array | None]:
        """Senders, receivers, which edges count, and the features of edges (edges, heads, out); loops at the end."""
        senders, receivers = jnp.asarray(graph.senders), jnp.asarray(graph.receivers)
        counts, edges = jnp.ones(senders.shape, bool), edges_of(graph, self.edge_size)
        if self.self_loops:
            nodes = jnp.arange(graph.num_nodes, dtype=senders.dtype)
            no_loop = senders != receivers
            edges = edges if edges is None else _with_means(jnp.asarray(edges), receivers, no_loop, graph.num_nodes)
            counts = jnp.concatenate([no_loop, jnp.ones(nodes.shape, bool)])
            senders, receivers = jnp.concatenate([senders, nodes]), jnp.concatenate([receivers, nodes])
        if self.edge is not None:
            edges = self._split(self.edge(edges))
        return senders, receivers, counts, edges

    def _received(self, scores: jax.Array, values: jax.Array, senders: Any, receivers: Any, counts: Any) -> jax.Array:
        """Scores (edges, heads) and values (nodes, heads, out) → what nodes become."""
        nodes = values.shape[0]
        weights = F.segment_softmax(jnp.where(counts[:, None], scores, -jnp.inf), receivers, nodes)
        weights = weights if self.drop is None else self.drop(weights)
        y = F.segment_sum(weights[..., None] * F.gather(values, senders), receivers, nodes)
        y = y.reshape(nodes, -1) if self.concat else y.mean(1)
        return self.act(y if self.bias is None else y + self.bias.astype(y.dtype))

    def _brief(self) -> str:
        heads = f", heads={self.heads}" if self.heads > 1 else ""
        return f"{type(self).__name__}({self.in_size} → {self.out_size}{heads})"


def _with_means(edges: jax.Array, receivers: jax.Array, counts: jax.Array, nodes: int) -> jax.Array:
    """Features of edges with those of loops behind them: the mean of what goes to the node, but for older loops."""
    counted = counts[:, None].astype(edges.dtype)
    total, many = (F.segment_sum(v, receivers, nodes) for v in (edges * counted, counted))
    return jnp.concatenate([edges, total / jnp.maximum(many, 1)])


class GATConv(_Attention):
    r"""Graph attention: $y_i = σ(\sum_j α_{ij}\, x_j W + b)$, $α_{ij} = \mathrm{softmax}_j\, λ(s · x_j W + r · x_i W)$
    for each head.

    λ is a leaky rectifier. Features of edges add $e · \mathrm{edge}_{ij} W_e$ to what it gets. How a node ranks others
    does not depend on itself: see ``GATv2Conv``.

    Shapes:
        x: (nodes, in); edges: (edges, edge_size); source s, target r: (heads, out); bias: (heads · out,), or (out,)
        without ``concat``; y: (nodes, heads · out), or (nodes, out).

    Arguments:
        in_size: features of a node.
        out_size: features that each head gives.
        act: σ, applied to the result.
        heads: how many.
        concat: whether heads stand side by side; else y is their mean.
        negative_slope: of λ below 0.
        dropout: the share of weights α that are dropped in training.
        self_loops: whether each node hears itself; older loops are left out then, and the features of a loop are the
            mean of those of the edges to the node.
        edge_size: features of edges; None leaves those that the graph may have alone.
        bias: whether to add b, which starts at zero.
        key: where weights and dropout are drawn from; by default the stream of ``px.seed``.

    Called with ``(graph, x=None)``.

    Raises:
        RangeError: a size below 1, or a share outside [0, 1]. ShapeError: nodes or edges of other features.

    Source: Veličković et al., "Graph attention networks", 2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> pair = px.science.Graph(jnp.ones((2, 3)), senders=[0, 1], receivers=[1, 0])
    >>> px.eval_shape(px.science.GATConv(3, 8, px.elu, heads=2), pair).shape
    (2, 16)
    """

    features: Dense
    source: Param  # (heads, out)
    target: Param  # (heads, out)
    edge_attention: Param | None  # (heads, out)
    parameter_kinds: ClassVar = {"source": ("other", 2), "target": ("other", 2), "edge_attention": ("other", 2)}

    def __init__(
        self,
        in_size: int,
        out_size: int,
        act: Callable[..., Any] = F.identity,
        *,
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        self_loops: bool = True,
        edge_size: int | None = None,
        bias: bool = True,
        key: Any = None,
    ):
        first, rest, *keys = jax.random.split(key_or_draw(key), 5)
        self._begin(in_size, out_size, act, heads, concat, negative_slope, dropout, self_loops, edge_size, bias, rest)
        self.features = Dense(in_size, heads * out_size, bias=False, key=first)
        source, target, edge = (glorot_uniform(k, (heads, out_size), param_dtype()) for k in keys)
        self.source, self.target, self.edge_attention = source, target, None if edge_size is None else edge

    def __call__(self, graph: Graph, x: Any = None) -> jax.Array:
        values = self._split(self.features(features_of(graph, x, self.in_size)))
        senders, receivers, counts, edges = self._edges(graph)
        _, source, target, along = harmonise(self, values, self.source, self.target, self.edge_attention)
        scores = F.gather((values * source).sum(-1), senders) + F.gather((values * target).sum(-1), receivers)
        if edges is not None:
            scores = scores + (edges * along).sum(-1)
        scores = F.leaky_relu(scores, self.negative_slope)
        return self._received(scores, values, senders, receivers, counts)


class GATv2Conv(_Attention):
    r"""Graph attention that depends on who asks: $y_i = σ(\sum_j α_{ij}\, s_j + b)$, $α_{ij} = \mathrm{softmax}_j\,
    a · λ(s_j + t_i)$ for each head, $s = x W_s + b_s$, $t = x W_t + b_t$.

    λ is a leaky rectifier. Features of edges add $\mathrm{edge}_{ij} W_e$ to what it gets.

    Shapes:
        x: (nodes, in); edges: (edges, edge_size); attention a: (heads, out); bias: (heads · out,), or (out,) without
        ``concat``; y: (nodes, heads · out), or (nodes, out).

    Arguments:
        in_size, out_size, act, heads, concat, negative_slope, dropout, self_loops, edge_size: as in ``GATConv``.
        bias: whether to add b, b_s and b_t, which start at zero.
        key: where weights and dropout are drawn from; by default the stream of ``px.seed``.

    Called with ``(graph, x=None)``.

    Raises:
        RangeError, ShapeError: as ``GATConv``.

    Source: Brody, Alon and Yahav, "How attentive are graph attention networks?", 2022.

    >>> import jax.numpy as jnp, phlox as px
    >>> pair = px.science.Graph(jnp.ones((2, 3)), senders=[0, 1], receivers=[1, 0])
    >>> px.eval_shape(px.science.GATv2Conv(3, 8, px.elu, heads=2, concat=False), pair).shape
    (2, 8)
    """

    source: Dense
    target: Dense
    attention: Param  # (heads, out)
    parameter_kinds: ClassVar = {"attention": ("other", 2)}

    def __init__(
        self,
        in_size: int,
        out_size: int,
        act: Callable[..., Any] = F.identity,
        *,
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        self_loops: bool = True,
        edge_size: int | None = None,
        bias: bool = True,
        key: Any = None,
    ):
        first, second, third, rest = jax.random.split(key_or_draw(key), 4)
        self._begin(in_size, out_size, act, heads, concat, negative_slope, dropout, self_loops, edge_size, bias, rest)
        self.source = Dense(in_size, heads * out_size, bias=bias, key=first)
        self.target = Dense(in_size, heads * out_size, bias=bias, key=second)
        self.attention = glorot_uniform(third, (heads, out_size), param_dtype())

    def __call__(self, graph: Graph, x: Any = None) -> jax.Array:
        x = features_of(graph, x, self.in_size)
        values, asked = self._split(self.source(x)), self._split(self.target(x))
        senders, receivers, counts, edges = self._edges(graph)
        sums = F.gather(values, senders) + F.gather(asked, receivers)
        sums, attention = harmonise(self, sums if edges is None else sums + edges, self.attention)
        scores = (attention * F.leaky_relu(sums, self.negative_slope)).sum(-1)
        return self._received(scores, values, senders, receivers, counts)
