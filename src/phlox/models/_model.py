"""What all ready models have in common."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module
from phlox.weights import NameMap


class Model(Module):
    """A ready architecture: built from a config, with parts that are named from input to output."""

    config: Any
    """What it is built from, a ``Config``."""

    def parts(self) -> tuple[str, ...]:
        """Paths or patterns from the input to the output, each a step of depth: what is frozen and thawed by depth."""
        raise NotImplementedError

    def names(self) -> tuple[NameMap, ...]:
        """What files of adapters may call the arrays, by the hub's names; the map that is written first."""
        family = getattr(self.config, "family", None)  # a config of your own has none
        return () if family is None else family.adapter_names(self.config)


class ImageClassifier(Model):
    """Images to classes: features, pooled over space, through a head that can be exchanged.

    ``model.head = px.Dense(width, 10)`` gives it another head; ``model.head = None`` leaves the pooled features.
    """

    head: Any
    """What makes scores of pooled features (batch, width); None for nothing."""

    @property
    def width(self) -> int:
        """How many features are pooled for the head."""
        raise NotImplementedError

    def hidden_states(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """What stands after the stem and after each stage or block, from images (batch, height, width, channels)."""
        raise NotImplementedError

    def features(self, images: jax.Array) -> jax.Array:
        """The last map of features (batch, height', width', features), or tokens (batch, tokens, features)."""
        return self.hidden_states(images)[-1]

    def pool(self, features: jax.Array) -> jax.Array:
        """One vector (batch, width) from the last map or tokens: the mean over space."""
        return jnp.mean(features, axis=tuple(range(1, features.ndim - 1)))

    def __call__(self, images: jax.Array) -> jax.Array:
        """Scores (batch, classes) of images (batch, height, width, channels); without a head, pooled features."""
        pooled = self.pool(self.features(images))
        return pooled if self.head is None else self.head(pooled)
