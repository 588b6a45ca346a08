"""Randomised weights: an attribution that stays the same did not depend on what the model learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, RangeError, StructureError, answering, copy, describe, modules
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._draws import generator

_WHERE = "px.interpret.sanity_check"


@dataclass(frozen=True, eq=False)
class Sanity:
    """What ``sanity_check`` found; printed, a table.

    Attributes:
        correlations: by the layer whose weights were drawn anew last, from the output down, (rows,) Spearman's rank
            correlation of sizes with those of the trained model. Near 0 the attribution depends on the weights.
    """

    correlations: Mapping[str, Any]

    def __str__(self) -> str:
        width = max(map(len, ["weights drawn anew down to", *self.correlations]))
        lines = [f"{'weights drawn anew down to':<{width}}  {'correlation':>11}"]
        lines += [f"{name:<{width}}  {found.mean():>11.3f}" for name, found in self.correlations.items()]
        return "\n".join(lines)

    __repr__ = __str__


@answering
def sanity_check(explain: Callable[[Any], Any], model: Module, *, cascade: bool = True, key: Any = None) -> Sanity:
    r"""Draw a model's weights anew, layer by layer from the output down, and see how attributions change.

    A layer's arrays are shuffled, each by itself, so their sizes stay what they were.

    Arguments:
        explain: gives an ``Attribution``, or its values, for a model.
        model: a trained model; it stays as it is.
        cascade: whether layers stay drawn anew while the next ones follow; False takes each alone.
        key: where shuffles are drawn from; by default the stream of ``px.seed``.

    Raises:
        StructureError: no Module, or one without weights.
        RangeError: attributions that are all the same for a row.

    Source: Adebayo et al., "Sanity checks for saliency maps", 2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> model, x = px.Chain(px.Dense(9, 9, px.tanh, key=0), px.Dense(9, 1, key=1)), jnp.ones((2, 9))
    >>> found = px.interpret.sanity_check(lambda model: px.interpret.saliency(model, x), model, key=0)
    >>> list(found.correlations)
    ['layers.1', 'layers.0']
    """
    if not isinstance(model, Module):
        raise StructureError("a px.Module", got=describe(model), fix="pass the trained model", where=_WHERE)
    names = [path for path, part in modules(model).items() if _weights(part)]
    if not names:
        raise StructureError("a model with weights", got=model._brief(), fix="pass the trained model", where=_WHERE)
    before = _sizes(explain(model))
    draws, twin, found = generator(key), copy(model), {}
    for path, one in zip(reversed(names), draws.spawn(len(names)), strict=True):
        twin = twin if cascade else copy(model)
        part = modules(twin)[path]
        for name, value in _weights(part).items():
            shuffled = one.permutation(np.asarray(value).ravel()).reshape(value.shape)
            setattr(part, name, jnp.asarray(shuffled, value.dtype))
        found[path] = _correlations(before, _sizes(explain(twin)))
    return Sanity(found)


def _weights(part: Module) -> dict[str, Any]:
    """The floating arrays of a part's own, of more than one number."""
    own = {name: value for name, value in vars(part).items() if isinstance(value, jax.Array)}
    return {
        name: value
        for name, value in own.items()
        if jnp.issubdtype(value.dtype, jnp.floating) and value.size > 1 and value.ndim > 0
    }


def _sizes(found: Any) -> Any:
    """(rows, numbers)."""
    values = found.values if isinstance(found, Attribution) else found
    leaves = [np.abs(np.asarray(v, np.float64)) for v in jax.tree.leaves(values)]
    return np.concatenate([v.reshape(len(v), -1) for v in leaves], 1)


def _correlations(a: Any, b: Any) -> Any:
    """(rows,) Spearman's: of ranks, equals sharing theirs; 0 where one side is all the same."""
    from scipy import stats

    ranks = [stats.rankdata(v, axis=1) for v in (a, b)]
    ranks = [r - r.mean(1, keepdims=True) for r in ranks]
    if not ranks[0].any(1).all():
        raise RangeError(
            "attributions that differ within a row", got="all the same", fix="explain other rows", where=_WHERE
        )
    below = np.sqrt((ranks[0] ** 2).sum(1) * (ranks[1] ** 2).sum(1))
    return (ranks[0] * ranks[1]).sum(1) / np.where(below == 0, 1, below)
