"""Layers that average over neighbours: by degrees, or beside what a node has itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Param, ShapeError, check_function, check_size, describe, harmonise, key_or_draw, param_dtype
from phlox.nn import Dense, fused
from phlox.nn import functional as F
from phlox.nn.init import glorot_uniform
from phlox.science.graphs._graph import Graph
from phlox.science.graphs._message import GraphLayer, MessagePassing, check_aggregate, features_of


class GCNConv(GraphLayer):
    r"""A graph convolution: $y = σ(\hat D^{-1/2} \hat A \hat D^{-1/2}\, x W + b)$, $\hat A = A + I$.

    $A_{ij}$ is the weight of the edge from j to i, and $\hat D$ has the sums of the rows of $\hat A$. A node that has
    an edge to itself gets no other.

    Shapes:
        x: (nodes, in); weight: (in, out); bias: (out,); y: (nodes, out).

    Arguments:
        in_size: features of a node.
        out_size: features that a node gets.
        act: σ, applied to the result.
        weighted: whether the graph's edges, (edges,) or (edges, 1) and not below 0, are weights; else each is 1.
        self_loops: whether I is added.
        bias: whether to add b, which starts at zero.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Called with ``(graph, x=None)``.

    Raises:
        RangeError: a size below 1. ShapeError: nodes of other features, or edges that are no weights.

    Source: Kipf and Welling, "Semi-supervised classification with graph convolutional networks", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> pair = px.science.Graph(jnp.ones((2, 3)), senders=[0, 1], receivers=[1, 0])
    >>> px.eval_shape(px.science.GCNConv(3, 8, px.relu), pair).shape
    (2, 8)
    """

    weight: Param  # (in, out)
    bias: Param | None  # (out,)
    in_size: int
    out_size: int
    act: Callable[..., Any]
    weighted: bool
    self_loops: bool

    def __init__(
        self,
        in_size: int,
        out_size: int,
        act: Callable[..., Any] = F.identity,
        *,
        weighted: bool = False,
        self_loops: bool = True,
        bias: bool = True,
        key: Any = None,
    ):
        self.in_size, self.out_size = (
            check_size("GCNConv", "in_size", in_size),
            check_size("GCNConv", "out_size", out_size),
        )
        self.act = check_function("GCNConv", "act", act, "as act(x)")
        self.weighted, self.self_loops = bool(weighted), bool(self_loops)
        self.weight = glorot_uniform(key_or_draw(key), (in_size, out_size), param_dtype())
        self.bias = jnp.zeros(out_size, param_dtype()) if bias else None

    def __call__(self, graph: Graph, x: Any = None) -> jax.Array:
        x, weight, bias = harmonise(self, features_of(graph, x, self.in_size), self.weight, self.bias)
        shares = _weights_of(graph).astype(x.dtype) if self.weighted else None
        return _convolved(self.act, x, weight, bias, graph.senders, graph.receivers, shares, loops=self.self_loops)

    def _brief(self) -> str:
        return f"GCNConv({self.in_size} → {self.out_size})"


def _weights_of(graph: Graph) -> jax.Array:
    edges = graph.edges
    if edges is None or edges.shape not in ((graph.num_edges,), (graph.num_edges, 1)):
        fix = "give the graph edges=weights, or the layer weighted=False"
        raise ShapeError(f"a graph whose edges are weights ({graph.num_edges},)", got=describe(edges), fix=fix)
    return jnp.asarray(edges).reshape(-1)


@fused("loops")
def _convolved(
    act: Any, x: Any, weight: Any, bias: Any, senders: Any, receivers: Any, shares: Any, *, loops: bool
) -> jax.Array:
    nodes, wide = x.shape[0], jnp.promote_types(x.dtype, jnp.float32)  # in bfloat16 counts end at 256
    shares = jnp.ones(senders.shape, wide) if shares is None else shares.astype(wide)
    has_loop = F.segment_max((senders == receivers).astype(jnp.int32), receivers, nodes) > 0
    own = jnp.where(has_loop, 0, 1).astype(wide) if loops else jnp.zeros(nodes, wide)
    degrees = F.segment_sum(shares, receivers, nodes) + own
    connected = degrees > 0
    scale = jnp.where(connected, jax.lax.rsqrt(jnp.where(connected, degrees, 1)), 0)
    along = (F.gather(scale, senders) * shares * F.gather(scale, receivers)).astype(x.dtype)
    narrow_first = weight.shape[1] <= weight.shape[0]  # messages of the fewer features
    y = x @ weight if narrow_first else x
    y = (
        F.segment_sum(F.gather(y, senders) * along[:, None], receivers, nodes)
        + (own * scale**2).astype(x.dtype)[:, None] * y
    )
    y = y if narrow_first else y @ weight
    return act(y if bias is None else y + bias)


class SAGEConv(MessagePassing):
    r"""A layer of GraphSAGE, of a node and of what its neighbours have: $y_i = σ(x_i W + \bigoplus_{j → i} x_j W' +
    b)$.

    With ``project`` neighbours pass through $\mathrm{relu}(x_j W'' + b'')$ first: with ``"max"`` that is the paper's
    pooling. Its LSTM over neighbours, which have no order, is absent.

    Shapes:
        x: (nodes, in); y: (nodes, out).

    Arguments:
        in_size: features of a node.
        out_size: features that a node gets.
        act: σ, applied to the result.
        aggregate: ⊕ of the neighbours: ``"mean"``, ``"max"``, ``"sum"`` or ``"min"``; 0 for a node that has none.
        project: whether there is W''.
        normalize: whether each y_i is divided by its length, at the end.
        bias: whether to add b, which starts at zero.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    Called with ``(graph, x=None)``.

    Raises:
        RangeError: a size below 1, or another aggregate. ShapeError: nodes of other features.

    Source: Hamilton, Ying and Leskovec, "Inductive representation learning on large graphs", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> pair = px.science.Graph(jnp.ones((2, 3)), senders=[0, 1], receivers=[1, 0])
    >>> px.eval_shape(px.science.SAGEConv(3, 8, px.relu, aggregate="max"), pair).shape
    (2, 8)
    """

    own: Dense
    neighbours: Dense
    projection: Dense | None
    in_size: int
    out_size: int
    act: Callable[..., Any]
    normalize: bool

    def __init__(
        self,
        in_size: int,
        out_size: int,
        act: Callable[..., Any] = F.identity,
        *,
        aggregate: str = "mean",
        project: bool = False,
        normalize: bool = False,
        bias: bool = True,
        key: Any = None,
    ):
        self.in_size, self.out_size = (
            check_size("SAGEConv", "in_size", in_size),
            check_size("SAGEConv", "out_size", out_size),
        )
        self.act = check_function("SAGEConv", "act", act, "as act(x)")
        self.aggregate, self.normalize = check_aggregate("SAGEConv", aggregate), bool(normalize)
        first, second, third = jax.random.split(key_or_draw(key), 3)
        self.own = Dense(in_size, out_size, bias=bias, key=first)
        self.neighbours = Dense(in_size, out_size, bias=False, key=second)
        self.projection = Dense(in_size, in_size, F.relu, key=third) if project else None

    def __call__(self, graph: Graph, x: Any = None) -> jax.Array:
        x, _ = harmonise(self, features_of(graph, x, self.in_size), self.own.weight)
        received = self.propagate(graph, x if self.projection is None else self.projection(x))
        y = self.own(x) + self.neighbours(received)
        return self.act(F.normalize(y, axis=-1) if self.normalize else y)

    def _brief(self) -> str:
        return f"SAGEConv({self.in_size} → {self.out_size}, {self.aggregate!r})"
