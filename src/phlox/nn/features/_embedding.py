"""Embedding: a learned vector for every index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import DtypeError, Module, Param, RangeError, ShapeError, describe, key_or_draw, param_dtype, policy
from phlox.nn import functional as F
from phlox.nn import init as inits
from phlox.nn._checks import check_size
from phlox.nn.functional._linear import scores


class Embedding(Module):
    r"""A learned vector for every index: $y = W_i$. Calling ``attend`` gives $x W^T$, for tied output layers.

    Shapes:
        indices: (...), integers in [0, num); weight: (num, dim); y: (..., dim).

    Arguments:
        num: number of indices.
        dim: size of the vectors.
        padding_idx: an index that stands for nothing: its vector starts at zero and has no gradient.
        init: initialiser of the weight; standard normal by default.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1, or a ``padding_idx`` that is no index.
        DtypeError: indices that are no integers.
        RangeError: an index outside the table, where its value is known; compiled code gives NaN for it.

    Source: Bengio et al., "A neural probabilistic language model", 2003.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.Embedding(10, 4)(jnp.array([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    weight: Param  # (num, dim)
    num: int
    dim: int

    def __init__(
        self,
        num: int,
        dim: int,
        *,
        padding_idx: int | None = None,
        init: Callable[..., jax.Array] = inits.normal,
        key: Any = None,
    ):
        self.num, self.dim = check_size("Embedding", "num", num), check_size("Embedding", "dim", dim)
        self.padding_idx: int | None = check_padding("Embedding", padding_idx, num)
        weight = init(key_or_draw(key), (num, dim), param_dtype())
        self.weight = weight if self.padding_idx is None else weight.at[self.padding_idx].set(0)

    @classmethod
    def of(cls, weight: jax.Array, *, padding_idx: int | None = None) -> Embedding:
        """A layer around a given weight (num, dim)."""
        if weight.ndim != 2:
            fix = "pass one row for each index"
            raise ShapeError("weight (num, dim)", got=describe(weight), fix=fix, where="Embedding.of")
        self: Embedding = cls.__new__(cls)
        self.num, self.dim = weight.shape
        self.padding_idx, self.weight = check_padding("Embedding.of", padding_idx, self.num), weight
        return self

    def __call__(self, indices: Any) -> jax.Array:
        indices = jnp.asarray(indices)
        if not jnp.issubdtype(indices.dtype, jnp.integer):
            raise DtypeError("integer indices", got=describe(indices), fix="convert them with .astype(int)")
        y = F.embedding(indices, self.weight, padding_idx=self.padding_idx)
        compute = policy().compute
        return y if compute is None else y.astype(compute)

    def attend(self, x: jax.Array) -> jax.Array:
        """Scores of every index for vectors x (..., dim): (..., num)."""
        return scores(jnp.asarray(x), jnp.asarray(self.weight))

    def _brief(self) -> str:
        return f"Embedding({self.num}, {self.dim})"


def check_padding(layer: str, padding_idx: int | None, num: int) -> int | None:
    """A row of the table, counted from the start."""
    if padding_idx is None:
        return None
    if not isinstance(padding_idx, int) or isinstance(padding_idx, bool) or not -num <= padding_idx < num:
        fix = "choose a row of the table; a negative one counts from the end"
        raise RangeError(f"padding_idx from {-num} to {num - 1}", got=repr(padding_idx), fix=fix, where=layer)
    return padding_idx % num
