"""Embedding: a learned vector for every index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import DtypeError, Module, Param, describe, key_or_draw, param_dtype, policy
from phlox.nn import init as inits
from phlox.nn._checks import check_size


class Embedding(Module):
    r"""A learned vector for every index: $y = W_i$. Calling ``attend`` gives $x W^T$, for tied output layers.

    Shapes:
        indices: (...), integers in [0, num); weight: (num, dim); y: (..., dim).

    Arguments:
        num: number of indices.
        dim: size of the vectors.
        init: initialiser of the weight; standard normal by default.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1.
        DtypeError: indices that are no integers.

    Source: Bengio et al., "A neural probabilistic language model", 2003.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.Embedding(10, 4)(jnp.array([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    weight: Param  # (num, dim)

    def __init__(self, num: int, dim: int, *, init: Callable[..., jax.Array] = inits.normal, key: Any = None):
        self.num, self.dim = check_size("Embedding", "num", num), check_size("Embedding", "dim", dim)
        self.weight = init(key_or_draw(key), (num, dim), param_dtype())

    def __call__(self, indices: Any) -> jax.Array:
        indices = jnp.asarray(indices)
        if not jnp.issubdtype(indices.dtype, jnp.integer):
            raise DtypeError("integer indices", got=describe(indices), fix="convert them with .astype(int)")
        y = jnp.take(self.weight, indices, axis=0)
        compute = policy().compute
        return y if compute is None else y.astype(compute)

    def attend(self, x: jax.Array) -> jax.Array:
        """Scores of every index for vectors x (..., dim): (..., num)."""
        return jnp.einsum("...d,nd->...n", x, self.weight)

    def _brief(self) -> str:
        return f"Embedding({self.num}, {self.dim})"
