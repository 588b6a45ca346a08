"""Attention rollout and attention flow: from which tokens what a layer sees at last has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, ShapeError, answering
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import as_rows
from phlox.interpret.asking._question import Forward
from phlox.interpret.attending._maps import attention_maps

_SCALE = 1 << 20  # capacities are integers where flows are found
_HEADS: dict[str, Callable[..., Any]] = {"mean": jnp.mean, "max": jnp.max, "min": jnp.min}


@answering
def attention_rollout(
    model: Any,
    x: Any,
    *,
    query: int | None = 0,
    heads: str = "mean",
    layers: Any = None,
    forward: Forward | None = None,
) -> Attribution:
    r"""Attention rollout: rows of $\hat A_L \cdots \hat A_1$, $\hat A = (A + I) / 2$ with rows that sum to 1.

    Shapes:
        x: a tree of (rows, …); values: (rows, tokens).

    Arguments:
        model: a Module with ``MultiHeadAttention`` over one sequence; it infers, and stays as it is.
        x: as of ``integrated_gradients``; tokens.
        query: whose way is followed, 0 is the first token; None is the mean over all.
        heads: how a layer's heads become one: ``"mean"``, ``"max"`` or ``"min"``.
        layers: the paths of the layers of attention in order; None is all.
        forward: how the model is called, ``forward(model, x)``.

    Returns:
        An ``Attribution`` whose values sum to 1, of scores 1.

    Raises:
        StructureError: a model whose layers do not attend.
        ShapeError: layers that do not attend to as many keys as they have queries.
        RangeError: an option outside its range.

    Source: Abnar and Zuidema, "Quantifying attention flow in transformers", 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(*[px.MultiHeadAttention(8, 2, key=i) for i in range(2)])
    >>> px.interpret.attention_rollout(model, jnp.ones((1, 4, 8))).values.round(4).tolist()
    [[0.4375, 0.1875, 0.1875, 0.1875]]
    """
    maps = _mixed(model, x, heads, layers, forward, "px.interpret.attention_rollout")
    total = maps[0]
    for one in maps[1:]:
        total = one @ total
    return _attribution(total, x, query, "attention_rollout")


@answering
def attention_flow(
    model: Any,
    x: Any,
    *,
    query: int | None = 0,
    heads: str = "mean",
    layers: Any = None,
    forward: Forward | None = None,
) -> Attribution:
    r"""Attention flow: how much can flow from a token through all layers to the query.

    No edge lets pass more than its $\hat A$, as of ``attention_rollout``. Each flow is a maximum flow of
    its own, to about a millionth; they do not sum to 1.

    Shapes, arguments and errors: as of ``attention_rollout``.

    Source: Abnar and Zuidema, "Quantifying attention flow in transformers", 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.MultiHeadAttention(8, 2, key=0))
    >>> px.interpret.attention_flow(model, jnp.ones((1, 4, 8))).values.round(4).tolist()
    [[0.625, 0.125, 0.125, 0.125]]
    """
    maps = np.stack([np.asarray(m) for m in _mixed(model, x, heads, layers, forward, "px.interpret.attention_flow")])
    queries = _query(query, maps.shape[-1], "attention_flow")
    flows = np.stack([_flows(maps[:, row], queries).mean(0) for row in range(maps.shape[1])])
    return _attribution(jnp.asarray(flows, jnp.float32)[:, None], x, None, "attention_flow")


def _mixed(model: Any, x: Any, heads: str, layers: Any, forward: Any, where: str) -> list[Any]:
    r"""(rows, queries, keys) of each layer: $\hat A$, what attention and the way around it let through."""
    if heads not in _HEADS:
        raise RangeError("heads of " + ", ".join(map(repr, _HEADS)), got=repr(heads), fix='choose "mean"', where=where)
    found = attention_maps(model, as_rows(x, where)[0], where, forward=forward)
    names = list(found) if layers is None else list(layers)
    unknown = [name for name in names if name not in found]
    if unknown or not names:
        fix = f"choose among {', '.join(list(found)[:6])}"
        raise RangeError("layers= of attention", got=repr(unknown or names), fix=fix, where=where)
    maps = [_HEADS[heads](found[name].astype(jnp.float32), 1) for name in names]
    shapes = {m.shape for m in maps}
    if len(shapes) != 1 or maps[0].shape[-1] != maps[0].shape[-2]:
        fix = "name the layers of one stack that attends to itself, layers=(…)"
        raise ShapeError("layers over the same tokens", got=", ".join(map(str, sorted(shapes))), fix=fix, where=where)
    around = [m + jnp.eye(m.shape[-1]) for m in maps]
    return [m / m.sum(-1, keepdims=True) for m in around]


def _query(query: int | None, tokens: int, method: str) -> list[int]:
    if query is None:
        return list(range(tokens))
    if isinstance(query, bool) or not isinstance(query, int) or not -tokens <= query < tokens:
        fix = "count from 0; None is the mean over all"
        raise RangeError(f"a query below {tokens}", got=repr(query), fix=fix, where=f"px.interpret.{method}")
    return [query % tokens]


def _flows(maps: Any, queries: list[int]) -> Any:
    """(queries, tokens) the greatest flows through a graph of a node for each token before and behind each layer."""
    from scipy import sparse
    from scipy.sparse.csgraph import maximum_flow

    layers, tokens, _ = maps.shape
    upper, lower = np.meshgrid(np.arange(tokens), np.arange(tokens), indexing="ij")
    begins = np.concatenate([(lower + i * tokens).ravel() for i in range(layers)])
    ends = np.concatenate([(upper + (i + 1) * tokens).ravel() for i in range(layers)])
    room = np.rint(maps.ravel() * _SCALE).astype(np.int32)
    graph = sparse.csr_array((room, (begins, ends)), shape=((layers + 1) * tokens,) * 2)
    return np.asarray(
        [[maximum_flow(graph, i, layers * tokens + q).flow_value / _SCALE for i in range(tokens)] for q in queries]
    )


def _attribution(total: Any, x: Any, query: int | None, method: str) -> Attribution:
    where = _query(query, total.shape[-1], method)
    values = total.mean(1) if query is None else total[:, where[0]]
    return Attribution(values, jax.tree.map(jnp.asarray, x), method, jnp.ones(values.shape[0]))
