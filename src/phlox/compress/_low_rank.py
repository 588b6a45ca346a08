"""px.compress.low_rank: weights as products of two smaller ones."""

from __future__ import annotations

from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from phlox.compress._layers import check_model, check_own, computed_layers
from phlox.compress.layers._low_rank import in_two_steps
from phlox.compress.layers._quantized import matrix_of, rank_of
from phlox.core import (
    Module,
    RangeError,
    StructureError,
    Where,
    answering,
    chosen_paths,
    copy,
    modules,
    plain_class,
    replaced,
)
from phlox.nn import Conv, Dense, Embedding

M = TypeVar("M", bound=Module)
_WHERE = "px.compress.low_rank"
_KINDS = (Dense, Conv, Embedding)
_WHAT = "Dense, Conv without groups or Embedding"


@answering
def low_rank(
    model: M, error: float | None = None, *, rank: int | None = None, where: Where | None = None,
    skip: Where | None = None,
) -> M:  # fmt: skip
    r"""A copy of a model in which a layer whose weight is nearly of low rank is two, that take less room: $W ≈ A B$.

    The weight as a matrix, of a convolution (kernel · in, out), is cut after its first r singular values, which is the
    nearest of that rank: $\|W - AB\|_F / \|W\|_F = \sqrt{\sum_{i > r} σ_i^2 / \sum_i σ_i^2}$. A layer is left as it is
    where two would take as much room. Blocks that are stacked have one rank, that of the one that needs most.

    Arguments:
        model: a model with layers Dense, Conv or Embedding, those of attention among them.
        error: how far A B may be from each weight, in (0, 1); the smallest rank that is no farther is taken.
        rank: in the place of it, r.
        where: which layers: a path or pattern, several, or a predicate (path, layer); None for all.
        skip: which of them are left as they are.

    Raises:
        RangeError: an error outside (0, 1), a rank below 1, both or neither, a choice that means no such layer.
        StructureError: a weight that is tied, computed or not finite; no layer that would take less room.

    Source: Eckart and Young, "The approximation of one matrix by another of lower rank", 1936; Denton et al.,
    "Exploiting linear structure within convolutional networks for efficient evaluation", 2014.

    >>> import jax.numpy as jnp, phlox as px
    >>> weight = jnp.outer(jnp.arange(1.0, 5.0), jnp.arange(1.0, 4.0))
    >>> small = px.compress.low_rank(px.Chain(px.Dense.of(weight)), 0.01)
    >>> small[0].first.weight.shape, small[0].second.weight.shape, bool(jnp.allclose(small[0].weight, weight))
    ((4, 1), (1, 3), True)
    """
    _check(error, rank)
    check_model(model, _WHERE)
    model = copy(model)
    fresh = {}
    for path in _chosen(model, where, skip):
        layer: Any = modules(model)[path]
        check_own(path, layer, "weight", computed_layers(model), _WHERE)
        u, values, v = np.linalg.svd(np.asarray(_matrix(layer), np.float64), full_matrices=False)
        r = min(rank, values.shape[-1]) if rank is not None else _smallest(values, error or 0.0)
        if r * (u.shape[-2] + v.shape[-1]) < u.shape[-2] * v.shape[-1]:
            fresh[id(layer)] = in_two_steps(layer, *_factors(u, values, v, r, layer.weight.dtype))
    if not fresh:
        fix = "allow a larger error or a lower rank, or leave the model as it is"
        raise StructureError("a layer of which two take less room", got="none", fix=fix, where=_WHERE)
    return replaced(model, fresh, _WHERE)


def _check(error: Any, rank: Any) -> None:
    """Refuse what is no error and no rank."""
    if (error is None) == (rank is None):
        got = "neither" if error is None else "both"
        raise RangeError("an error, or rank=", got=got, fix="give one of them", where=_WHERE)
    number = isinstance(error, (int, float, np.floating)) and not isinstance(error, bool)
    if error is not None and not (number and 0 < error < 1):
        fix = "0.1 keeps nine tenths of a weight's norm and more"
        raise RangeError("an error in (0, 1)", got=repr(error)[:100], fix=fix, where=_WHERE)
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
        raise RangeError("a rank of 1 or more", got=repr(rank)[:100], fix="or give an error", where=_WHERE)


def _chosen(model: Module, where: Where | None, skip: Where | None) -> list[str]:
    """The paths of layers that are meant."""
    layers = modules(model)
    able = [
        path for path, layer in layers.items()
        if plain_class(type(layer)) in _KINDS and getattr(layer, "groups", 1) == 1
    ]  # fmt: skip
    if not able:
        fix = "pass a model that has some, before its weights are pruned or made integers"
        raise StructureError(f"a model with a {_WHAT}", got=model._brief(), fix=fix, where=_WHERE)
    meant = able if where is None else chosen_paths(where, able, layers, _WHAT, _WHERE)
    left = set() if skip is None else set(chosen_paths(skip, able, layers, _WHAT, _WHERE, "skip"))
    return [path for path in meant if path not in left]


def _matrix(layer: Any) -> Any:
    """The weight as (..., rows, out)."""
    wide = jnp.promote_types(layer.weight.dtype, jnp.float32)
    return matrix_of(layer.weight, rank_of(layer), -2).astype(wide)


def _smallest(values: np.ndarray, error: float) -> int:
    """The smallest rank by which no weight is farther off than this, from singular values (..., count)."""
    squares = np.square(values)
    behind = np.cumsum(squares[..., ::-1], -1)[..., ::-1]  # of those from each on
    fits = behind <= error**2 * behind[..., :1]
    return max(1, int(np.where(fits.any(-1), fits.argmax(-1), values.shape[-1]).max()))


def _factors(u: np.ndarray, values: np.ndarray, v: np.ndarray, rank: int, dtype: Any) -> tuple[Any, Any]:
    """A and B, each with the root of the singular values."""
    roots = np.sqrt(values[..., :rank])
    a, b = u[..., :rank] * roots[..., None, :], roots[..., :, None] * v[..., :rank, :]
    return jnp.asarray(a, dtype), jnp.asarray(b, dtype)
