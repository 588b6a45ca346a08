"""Layers on the nodes of a graph one after another, and one row for each graph at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax

from phlox.core import check_function, harmonise
from phlox.science.graphs._graph import Graph
from phlox.science.graphs._message import GraphLayer, aggregated, check_aggregate, features_of


class GraphChain(GraphLayer):
    r"""Layers one after another on a graph's nodes: $y = f_n(\dots f_2(f_1(x)))$.

    Layers of graphs get the graph and x, all others x alone, so ``px.Dense``, ``px.Dropout`` and activations stand
    among them.

    Shapes:
        x: (nodes, features); y: what the last layer gives.

    Arguments:
        layers: callables; what is a ``GraphLayer`` is called as ``layer(graph, x)``.

    Called with ``(graph, x=None)``.

    Raises:
        RangeError: a layer that cannot be called.

    >>> import jax.numpy as jnp, phlox as px
    >>> sci = px.science
    >>> model = sci.GraphChain(sci.GCNConv(5, 8, px.relu), px.Dropout(0.5), sci.GraphPool("mean"), px.Dense(8, 2))
    >>> px.eval_shape(model, sci.Graph(jnp.ones((3, 5)), [0, 1], [1, 2])).shape, len(model)
    ((1, 2), 4)
    """

    _positional = "layers"
    layers: list[Callable[..., Any]]

    def __init__(self, *layers: Callable[..., Any]):
        self.layers = [check_function("GraphChain", "layers", f, "as layer(graph, x) or layer(x)") for f in layers]

    def __call__(self, graph: Graph, x: Any = None) -> Any:
        x = features_of(graph, x)
        for layer in self.layers:
            x = layer(graph, x) if isinstance(layer, GraphLayer) else layer(x)
        return x

    def __getitem__(self, at: int) -> Any:
        return self.layers[at]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)


class GraphPool(GraphLayer):
    r"""One row for each graph, of all its nodes: $y_g = \bigoplus_{i ∈ g} x_i$.

    Padding is left out; a graph without nodes gets 0.

    Shapes:
        x: (nodes, ...); y: (graphs, ...).

    Arguments:
        aggregate: ⊕, ``"mean"``, ``"sum"``, ``"max"`` or ``"min"``.

    Called with ``(graph, x=None)``.

    Raises:
        RangeError: another aggregate. ShapeError: rows that are not those of the graph's nodes.

    >>> import jax.numpy as jnp, phlox as px
    >>> graph = px.science.Graph(jnp.array([[1.0], [3.0], [5.0]]), [0], [1], batch=jnp.array([0, 0, 1]))
    >>> px.science.GraphPool("mean")(graph).tolist()
    [[2.0], [5.0]]
    """

    aggregate: str

    def __init__(self, aggregate: str = "mean"):
        self.aggregate = check_aggregate("GraphPool", aggregate)

    def __call__(self, graph: Graph, x: Any = None) -> jax.Array:
        (x,) = harmonise(self, features_of(graph, x))
        return aggregated(x, graph.segments, graph.num_graphs, self.aggregate)

    def _brief(self) -> str:
        return f"GraphPool({self.aggregate!r})"
