"""Two towers that answer in one space: an image and a text fit where their vectors point the same way."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Param, ShapeError, describe, harmonise
from phlox.models._model import Model
from phlox.models.multimodal._towers import ImageTower, TextTower
from phlox.nn import functional as F


class ImageTextModel(Model):
    """A tower for text and one for images, and a scale for the products of their vectors."""

    config: Any
    text: TextTower
    vision: ImageTower
    logit_scale: Param  # (), the logarithm of what the products are scaled by

    def encode_image(self, images: jax.Array) -> jax.Array:
        """A vector of length 1 for each image: (batch, features) from (batch, height, width, channels)."""
        return F.normalize(self.vision(images), axis=-1)

    def encode_text(self, tokens: jax.Array, *, mask: Any = None) -> jax.Array:
        """A vector of length 1 for each text: (batch, features) from tokens (batch, time).

        Arguments:
            tokens: (batch, time).
            mask: (batch, time), True where a token counts; all by default.
        """
        return F.normalize(self.text(tokens, mask=mask), axis=-1)

    def scores(self, images: jax.Array, texts: jax.Array) -> jax.Array:
        """How well each image fits each text (images, texts), from vectors (..., features) that ``encode_*`` made.

        Raises:
            ShapeError: vectors of different spaces.
        """
        if jnp.ndim(images) != 2 or jnp.ndim(texts) != 2 or images.shape[1] != texts.shape[1]:
            fix = "pass what encode_image and encode_text made"
            got = f"{describe(images)} and {describe(texts)}"
            raise ShapeError("vectors (images, features) and (texts, features)", got=got, fix=fix)
        images, scale = harmonise(self, images, self.logit_scale)
        return jnp.exp(scale) * (images @ texts.T)

    def __call__(self, images: jax.Array, tokens: jax.Array, *, mask: Any = None) -> jax.Array:
        """Scores (images, texts) of how well each image fits each text; ``.T`` has them by text.

        Arguments:
            images: (images, height, width, channels).
            tokens: (texts, time).
            mask: (texts, time), True where a token counts; all by default.
        """
        return self.scores(self.encode_image(images), self.encode_text(tokens, mask=mask))

    def parts(self) -> tuple[str, ...]:
        """The parts of both towers by turns, side by side at the output, then the scale."""
        towers = [[f"{name}.{part}" for part in getattr(self, name).parts()] for name in ("vision", "text")]
        turns = list(zip_longest(*map(reversed, towers)))
        return *(part for turn in reversed(turns) for part in turn if part is not None), *self._scales()

    def _scales(self) -> tuple[str, ...]:
        return ("logit_scale",)
