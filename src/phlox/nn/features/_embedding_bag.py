"""Embedding bags: learned vectors, reduced over bags of indices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, Param, RangeError, ShapeError, describe, key_or_draw, param_dtype, policy
from phlox.nn import functional as F
from phlox.nn import init as inits
from phlox.nn._checks import check_size
from phlox.nn.features._embedding import check_padding

_MODES = ("sum", "mean", "max")


class EmbeddingBag(Module):
    r"""Learned vectors, reduced over bags of indices: $y_b = \operatorname{mean}_{i \in b} W_i$ (or sum, or max).

    Bags come as a matrix, one row each; as flat indices with the offsets at which bags begin; or as a list of
    lists of any lengths. An empty bag gives zeros.

    Shapes:
        indices: (bags, size), or (n,) with offsets (bags,), or a list of bags; factors: as indices;
        weight: (num, dim); y: (bags, dim).

    Arguments:
        num: number of indices.
        dim: size of the vectors.
        mode: "mean", "sum" or "max".
        padding_idx: an index that is left out of its bag; its vector starts at zero and has no gradient.
        include_last_offset: whether offsets, then (bags + 1,), end with the number of indices.
        init: initialiser of the weight; standard normal by default.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1, an unknown mode, an index outside the table, factors with another mode than "sum".
        ShapeError: shapes that do not match.
        DtypeError: indices that are no integers.

    Source: Joulin et al., "Bag of tricks for efficient text classification", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> bag = px.nn.EmbeddingBag.of(jnp.array([[1.0], [2.0], [4.0]]), mode="sum")
    >>> bag([[0, 1], [2], []]).tolist(), bag(jnp.array([0, 1, 2]), jnp.array([0, 2])).tolist()
    ([[3.0], [4.0], [0.0]], [[3.0], [4.0]])
    """

    weight: Param  # (num, dim)
    mode: str
    padding_idx: int | None

    def __init__(
        self,
        num: int,
        dim: int,
        *,
        mode: str = "mean",
        padding_idx: int | None = None,
        include_last_offset: bool = False,
        init: Callable[..., jax.Array] = inits.normal,
        key: Any = None,
    ):
        self.num: int = check_size("EmbeddingBag", "num", num)
        self.dim: int = check_size("EmbeddingBag", "dim", dim)
        self.mode, self.padding_idx = _check_mode(mode), check_padding("EmbeddingBag", padding_idx, num)
        self.include_last_offset: bool = bool(include_last_offset)
        weight = init(key_or_draw(key), (num, dim), param_dtype())
        self.weight = weight if self.padding_idx is None else weight.at[self.padding_idx].set(0)

    @classmethod
    def of(
        cls,
        weight: jax.Array,
        *,
        mode: str = "mean",
        padding_idx: int | None = None,
        include_last_offset: bool = False,
    ) -> EmbeddingBag:
        """A layer around a given weight (num, dim)."""
        if weight.ndim != 2:
            fix = "pass one row for each index"
            raise ShapeError("weight (num, dim)", got=describe(weight), fix=fix, where="EmbeddingBag.of")
        self: EmbeddingBag = cls.__new__(cls)
        self.num, self.dim = weight.shape
        self.mode, self.include_last_offset = _check_mode(mode), bool(include_last_offset)
        self.padding_idx, self.weight = check_padding("EmbeddingBag.of", padding_idx, self.num), weight
        return self

    def __call__(self, indices: Any, offsets: Any = None, *, factors: Any = None) -> jax.Array:
        flat, ended = indices, self.include_last_offset and offsets is not None
        if isinstance(indices, (list, tuple)) and _is_ragged(indices):
            flat, offsets, factors = _flattened(indices, offsets, factors)
        y = F.embedding_bag(
            flat, self.weight, offsets=offsets, include_last_offset=ended, weights=factors, mode=self.mode,
            padding_idx=self.padding_idx,
        )  # fmt: skip
        compute = policy().compute
        return y if compute is None else y.astype(compute)

    def _brief(self) -> str:
        return f"EmbeddingBag({self.num}, {self.dim}, mode={self.mode!r})"


def _check_mode(mode: str) -> str:
    if mode not in _MODES:
        raise RangeError('mode "sum", "mean" or "max"', got=repr(mode), fix="choose one of them", where="EmbeddingBag")
    return mode


def _is_ragged(indices: Sequence[Any]) -> bool:
    return not indices or any(isinstance(b, (list, tuple)) or np.ndim(b) > 0 for b in indices)


def _flattened(bags: Sequence[Any], offsets: Any, factors: Any) -> tuple[Any, Any, Any]:
    """Bags in a list as flat indices and offsets, their factors likewise."""
    if offsets is not None:
        fix = "pass flat indices with offsets, or bags in a list without"
        raise ShapeError("bags in a list, or offsets", got="both", fix=fix)
    flat, starts = _joined(bags, jnp.int32)
    if factors is not None:
        factors, theirs = _joined(factors, param_dtype())
        if not np.array_equal(starts, theirs) or factors.shape != flat.shape:
            fix = "give every index a factor"
            raise ShapeError("factors in bags of the sizes of the indices", got="other sizes", fix=fix)
    return flat, jnp.asarray(starts), factors


def _joined(bags: Sequence[Any], empty: Any) -> tuple[jax.Array, np.ndarray[Any, Any]]:
    parts = [jnp.asarray(b) if np.size(b) else jnp.zeros(0, empty) for b in bags]
    for part in parts:
        if part.ndim != 1:
            raise ShapeError("bags that are lists of indices", got=describe(part), fix="nest lists one level deep")
    starts = np.cumsum([0, *[len(p) for p in parts]])[:-1]
    return (jnp.concatenate(parts) if parts else jnp.zeros(0, empty)), starts.astype(np.int32)
