"""Embedding with integer vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.compress._integers import Integers, numbers
from phlox.compress.layers import _weight_kernel, _whole
from phlox.compress.layers._quantized import Quantized, birth
from phlox.core import DtypeError, Module, describe, policy
from phlox.nn import Embedding, fused, whole_wanted
from phlox.nn import functional as F


class QuantizedEmbedding(Quantized, Embedding):
    r"""An Embedding whose vectors are integers, with scales of their own: $y = s_i (q_i - z_i)$.

    Shapes:
        indices: (...); y: (..., dim); codes: (num, dim), of 4 bits (num, dim / 2); scale, zero: (num, groups).

    Arguments:
        as of ``px.Embedding`` and ``px.compress.quantize``.

    Raises:
        DtypeError, RangeError: as ``px.Embedding``.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.compress.QuantizedEmbedding(10, 4, bits=8, key=0)(jnp.array([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    kind: ClassVar[type[Module]] = Embedding
    axis: ClassVar[int] = -1
    if not TYPE_CHECKING:
        __init__: Any = birth(Embedding)

    def __call__(self, indices: Any) -> jax.Array:
        indices = jnp.asarray(indices)
        if not jnp.issubdtype(indices.dtype, jnp.integer):
            raise DtypeError("integer indices", got=describe(indices), fix="convert them with .astype(int)")
        scale = self.scale if self.scale.shape[0] == self.num else jnp.broadcast_to(self.scale, (self.num, 1))
        compute = policy().compute
        return _rows(
            F.identity, indices, F.embedding(indices, scale), self.codes, self.zero, bits=self.bits, group=self.group,
            size=self.dim, dtype=self.weight_dtype if compute is None else jnp.dtype(compute),
        )  # fmt: skip

    def attend(self, x: Any) -> jax.Array:
        """Scores of every index for vectors x (..., dim): (..., num)."""
        x = jnp.asarray(x)
        fits = x.shape[-1:] == (self.dim,) and _weight_kernel.takes(x.shape[:-1], self.integers, self.weight_dtype, -1)
        if not fits or not isinstance(self.bits, int):
            return super().attend(x)
        return _scores(F.identity, x, self.integers, bits=self.bits, group=self.group)


@fused("bits", "group")
def _scores(act: Any, x: Any, given: Integers, *, bits: int, group: int | None) -> jax.Array:
    y = _weight_kernel.product(x, given, bits=bits, group=group, axis=-1)
    if y is None:
        y = jnp.einsum("...d,nd->...n", x, numbers(given, bits, group, x.shape[-1], -1))
    return act(y)


@fused("bits", "group", "size", "dtype")
def _rows(
    act: Any, indices: Any, scale: Any, codes: Any, zero: Any, *, bits: Any, group: int | None, size: int, dtype: Any
) -> jax.Array:
    """The vectors of indices, by the scales that were looked up; of an index that there is not they are NaN."""
    here = codes.at[indices].get(mode="clip")
    if zero is not None:
        zero = zero.at[indices].get(mode="clip") if zero.shape[0] == codes.shape[0] else zero[0]
    if whole_wanted():
        return act(_whole.rows(Integers(here, scale, zero), bits=bits, group=group, size=size).astype(dtype))
    return act(numbers(Integers(here, scale, zero), bits, group, size, -1).astype(dtype))
