"""Classes of a whole recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, param_dtype
from phlox.nn import Dense
from phlox.nn.init import normal

HEAD_NAMES = {"layer_weights": "head.weights", "projector": "head.projector", "classifier": "head.classifier"}
"""What transformers calls its arrays."""


class ClassHead(Module):
    r"""The features of all steps, projected, averaged and told apart: $s = \bar{p} W_c + b_c$, $p_t = x_t W_p + b_p$.

    With a weighted sum, $x = \sum_l \mathrm{softmax}(w)_l\, h_l$ over what stands after the embedding and each block.

    Shapes:
        states: (batch, time, dim) each; lengths: (batch,), steps that count; scores: (batch, classes).

    Source: Yang et al., "SUPERB: speech processing universal performance benchmark", 2021.
    """

    weights: Param | None  # (states,) one for each layer's features
    tensor_rules: ClassVar[dict[str, Any]] = {"projector": "column", "classifier": "row"}

    def __init__(self, dim: int, size: int, classes: int, *, states: int | None, std: float):
        draw = normal(std=std)
        self.weights = None if states is None else jnp.full(states, 1 / states, param_dtype())
        self.projector, self.classifier = Dense(dim, size, init=draw), Dense(size, classes, init=draw)

    def __call__(self, last: jax.Array, states: Sequence[jax.Array], lengths: Any = None) -> jax.Array:
        if self.weights is not None:
            shares = jax.nn.softmax(self.weights)
            last = jnp.tensordot(shares, jnp.stack(tuple(states)), axes=1)
        x = self.projector(last)
        if lengths is None:
            return self.classifier(jnp.mean(x, axis=1))
        counts = (jnp.arange(x.shape[1]) < lengths[:, None])[..., None]
        divisor = jnp.maximum(lengths, 1)[:, None].astype(x.dtype)  # too short for a step: zeros, in place of 0 / 0
        return self.classifier(jnp.sum(jnp.where(counts, x, 0), axis=1) / divisor)
