"""Embedding with adapters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from phlox.adapt._arithmetic import Change, Low, changed_weight
from phlox.adapt.layers._adapted import Adapted
from phlox.adapt.layers._changes import change_of
from phlox.core import StructureError
from phlox.nn import functional as F
from phlox.nn import fused


class AdaptedEmbedding(Adapted):
    r"""An Embedding with adapters of low rank: $y = W_i + \sum s A_i B$.

    Shapes:
        indices: (...); y: (..., dim); of an adapter, a: (num, rank), b: (rank, dim).
    """

    def __call__(self, indices: Any) -> jax.Array:
        layer = self.layer
        y = layer(indices)
        if self.merged is not None:
            return F.embedding(indices, self.merged["weight"], padding_idx=layer.padding_idx).astype(y.dtype)
        change, scales = change_of(self.used)
        if not change.lows:
            return y
        return _added(F.identity, y, indices, change.lows, scales=scales, padding_idx=layer.padding_idx)

    def attend(self, x: jax.Array) -> jax.Array:
        """Scores by the embedding, where no adapter is in use.

        Raises:
            StructureError: one is. PEFT leaves scores by a tied embedding as they were, which could not be merged.
        """
        if self.used or self.merged is not None:
            raise StructureError(
                "no adapter in an embedding that scores words too",
                got=", ".join(name for name in self.adapters if name in self.active),
                fix="adapt other layers, by another where=, or give the model a head of its own",
            )
        return self.layer.attend(x)

    def changed_arrays(self) -> dict[str, jax.Array]:
        """The table with the adapters in use."""
        change, scales = change_of(self.used)
        return {"weight": _weight(F.identity, self.layer.weight, change, scales=scales)}


@fused("scales", "padding_idx")
def _added(
    act: Any, y: Any, indices: Any, lows: Sequence[Low], *, scales: tuple[float, ...], padding_idx: int | None
) -> jax.Array:
    for low, scale in zip(lows, scales, strict=True):
        rows = F.embedding(indices, low.a, padding_idx=padding_idx)
        y = y + ((rows * scale) @ low.b).astype(y.dtype)
    return act(y)


@fused("scales")
def _weight(act: Any, weight: Any, change: Change, *, scales: tuple[float, ...]) -> jax.Array:
    return act(changed_weight(weight, change, scales))
