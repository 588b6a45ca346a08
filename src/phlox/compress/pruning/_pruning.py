"""px.compress.prune, remove_masks and sparsity: masks on weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from phlox.compress._layers import check_model
from phlox.compress.layers._masked import MASKED, Masked
from phlox.compress.pruning._scores import By, scores_of
from phlox.compress.pruning._selecting import count_of, highest_of_each, layers_of, without_lowest
from phlox.compress.pruning._weights import Weight, check_share, chosen, weights_of, with_masks
from phlox.core import Module, RangeError, ShapeError, Where, answering, copy, modules, plain_class, replaced

M = TypeVar("M", bound=Module)
_WHERE = "px.compress.prune"


@answering
def prune(
    model: M,
    share: float | None = None,
    *,
    by: By = "magnitude",
    scope: str = "global",
    pattern: str | None = None,
    where: Where | None = None,
    skip: Where | None = None,
    key: Any = None,
) -> M:
    r"""A copy of a model whose weights are read through masks, which leave out the numbers of the lowest scores.

    Of n numbers exactly the nearest whole number to ``share`` n are left out; of equal scores those that come first.
    Layers keep their kind and their paths, and a weight reads as what the layer computes with. Masks are arrays of the
    model, ``weight_mask``: what they leave out stays zero in training, in checkpoints, files and exports. A model that
    has masks is pruned further: ``share`` counts what is left out already.

    Arguments:
        model: a model with layers Dense, Conv, DepthwiseConv, ConvTranspose, Embedding, EmbeddingBag, Bilinear, or
            recurrent cells, those of attention and of stacked layers among them. Biases and norms are never pruned.
        share: of the numbers to be left out, in [0, 1). 0 puts masks on weights and leaves nothing out, for
            ``px.compress.Pruning``.
        by: ``"magnitude"``, $|w|$; ``"random"``; or scores of your own by the path of a weight, of its shape.
        scope: ``"global"``, where all weights are compared, or ``"layer"``, where each gives up the same share.
        pattern: in the place of a share, ``"2:4"``: of each 4 neighbours that an output sums over 2 are kept, which
            some devices multiply faster; or other numbers.
        where: which layers: a path or pattern, several, or a predicate (path, layer); None for all.
        skip: which of them are left as they are.
        key: what ``"random"`` draws from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a share outside [0, 1) or below what is left out already, another option outside its range, a choice
            that means no such layer, scores that are missing or NaN.
        ShapeError: scores of another shape, or a pattern that does not divide what an output sums over.
        StructureError: a weight that is tied, computed, not finite or held by several processes; no such layer.

    Source: Han et al., "Learning both weights and connections for efficient neural networks", 2015; Mishra et al.,
    "Accelerating sparse deep neural networks", 2021, for 2:4.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense.of(jnp.array([[3.0, -1.0], [0.5, 2.0]])))
    >>> px.compress.prune(model, 0.5)[0].weight.tolist()
    [[3.0, 0.0], [0.0, 2.0]]
    """
    wanted = _checked(share, scope, pattern)
    model = with_masks(model, where, skip, _WHERE)
    weights = weights_of(model, chosen(model, where, skip, _WHERE), _WHERE)
    scores = scores_of(weights, by, key, _WHERE)
    if isinstance(wanted, tuple):
        masks = [_by_pattern(weight, score, *wanted) for weight, score in zip(weights, scores, strict=True)]
    else:
        _check_rises(weights, scores, wanted, scope)
        masks = masks_by_share(weights, scores, wanted, scope)
    for weight, mask in zip(weights, masks, strict=True):
        weight.take(mask)
    return model


def _checked(share: Any, scope: Any, pattern: Any) -> float | tuple[int, int]:
    """The share to be left out, or how many are kept of how many."""
    check_scope(scope, _WHERE)
    if (share is None) == (pattern is None):
        got = "neither" if share is None else "both"
        raise RangeError('a share, or pattern="2:4"', got=got, fix="give one of them", where=_WHERE)
    if pattern is None:
        return check_share(share, "a share", _WHERE)
    found = re.fullmatch(r"(\d+):(\d+)", pattern) if isinstance(pattern, str) else None
    if found is None or not 1 <= int(found[1]) < int(found[2]):
        fix = "of each 4 neighbours 2 are kept by it"
        raise RangeError('a pattern such as "2:4"', got=repr(pattern)[:100], fix=fix, where=_WHERE)
    return int(found[1]), int(found[2])


def check_scope(scope: Any, speaker: str) -> None:
    """Refuse another scope.

    Raises:
        RangeError: it is none of the two.
    """
    if scope not in ("global", "layer"):
        fix = 'scope="layer" takes the same share of each'
        raise RangeError('scope="global" or scope="layer"', got=repr(scope)[:100], fix=fix, where=speaker)


def masks_by_share(
    weights: Sequence[Weight], scores: Sequence[np.ndarray], share: float, scope: str
) -> list[np.ndarray]:
    """Masks that leave out exactly a share, of all numbers together or of each layer's; what was left out stays so."""
    if scope == "global":
        return without_lowest(scores, _count(scores, share))
    found = []
    for weight, score in zip(weights, scores, strict=True):
        each = [without_lowest([one], _count([one], share))[0] for one in layers_of(score, weight.stacked)]
        found.append(np.stack(each).reshape(score.shape))
    return found


def _count(scores: Sequence[np.ndarray], share: float) -> int:
    """How many numbers are left out by a share, no fewer than are already."""
    return max(count_of(share, sum(one.size for one in scores)), sum(_gone(one) for one in scores))


def _gone(scores: np.ndarray) -> int:
    return int(np.isneginf(scores).sum())


def _check_rises(weights: Sequence[Weight], scores: Sequence[np.ndarray], share: float, scope: str) -> None:
    """Refuse a share of which more is left out already."""
    parts = {weight.path: score for weight, score in zip(weights, scores, strict=True)}
    together = {"the model": np.concatenate([score.ravel() for score in scores])}
    for what, part in (together if scope == "global" else parts).items():
        if count_of(share, part.size) < _gone(part):
            expected = f"a share of at least {_gone(part) / part.size:.4g}, which {what} leaves out already"
            fix = "prune more, or take the masks off first: px.compress.remove_masks(model)"
            raise RangeError(expected, got=f"{share:g}", fix=fix, where=_WHERE)


def _by_pattern(weight: Weight, score: np.ndarray, keep: int, group: int) -> np.ndarray:
    """A mask that keeps so many of each group along what an output sums over."""
    size = score.shape[weight.axis]
    if size % group:
        expected = f"{weight.path}.{weight.name} with a multiple of {group} numbers that an output sums over"
        fix = f'leave it as it is: skip="{weight.path}"'
        raise ShapeError(expected, got=str(size), fix=fix, where=_WHERE)
    return highest_of_each(score, keep, group, weight.axis)


def remove_masks(model: M) -> M:
    """A copy of a model without masks, whose weights are zero where these left something out; it computes the same.

    For what takes plain layers alone, such as ``px.compress.quantize``, in which zeros stay zeros; training may move
    them.

    Arguments:
        model: any model.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.compress.prune(px.Chain(px.Dense.of(jnp.array([[3.0, -1.0]]))), 0.5)
    >>> plain = px.compress.remove_masks(model)
    >>> type(plain[0]).__name__, plain[0].weight.tolist()
    ('Dense', [[3.0, 0.0]])
    """
    where = "px.compress.remove_masks"
    check_model(model, where)
    model = copy(model)
    return replaced(model, {id(one): one.plain() for one in modules(model).values() if isinstance(one, Masked)}, where)


@dataclass(frozen=True)
class Sparsity:
    """Which share of a model's weights is zero; printed, a table."""

    shares: Mapping[str, float]
    """Of each weight, by its path."""
    sizes: Mapping[str, int]
    """How many numbers it has."""

    @property
    def share(self) -> float:
        """Of all numbers together."""
        return sum(self.shares[path] * size for path, size in self.sizes.items()) / sum(self.sizes.values())

    def __str__(self) -> str:
        width = max(map(len, ["weight", *self.shares]))
        lines = [f"{'weight':<{width}}  {'numbers':>12}  {'zero':>7}"]
        lines += [f"{path:<{width}}  {self.sizes[path]:>12,}  {share:>7.1%}" for path, share in self.shares.items()]
        total = sum(self.sizes.values())
        return "\n".join([*lines, f"{'all':<{width}}  {total:>12,}  {self.share:>7.1%}"])


def sparsity(model: Module) -> Sparsity:
    """Which share of its weights is zero, of those that ``px.compress.prune`` prunes.

    Arguments:
        model: a model with such layers, pruned or not.

    Raises:
        StructureError: it has none.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.compress.prune(px.Chain(px.Dense(10, 10), px.relu, px.Dense(10, 1)), 0.8, scope="layer")
    >>> found = px.compress.sparsity(model)
    >>> found.share, found.shares
    (0.8, {'layers.0.weight': 0.8, 'layers.2.weight': 0.8})
    """
    where = "px.compress.sparsity"
    check_model(model, where)
    zero, sizes = {}, {}
    layers = modules(model)
    for path in chosen(model, None, None, where):
        layer: Any = layers[path]
        kind = type(layer) if isinstance(layer, Masked) else MASKED[plain_class(type(layer))]
        for name in kind.names:
            if (value := getattr(layer, name)) is not None:
                at = f"{path}.{name}".lstrip(".")
                zero[at], sizes[at] = int((value == 0).sum()) / value.size, value.size
    return Sparsity(zero, sizes)
