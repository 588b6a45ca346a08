"""Text that is one of the words that a model knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._known import canonical


@dataclass(frozen=True, eq=False)
class Words:
    """An array of text, held as places in a list of words, so that JAX can choose among them."""

    places: jax.Array
    words: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the text."""
        return self.places.shape

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return self.places.ndim

    def reshape(self, *shape: Any) -> Words:
        """The same text in another shape."""
        return Words(self.places.reshape(*shape), self.words)

    def text(self) -> np.ndarray:
        """The words themselves; the places are known."""
        return np.array(self.words, object)[np.asarray(self.places)]

    def looked_up(self, table: Mapping[str, Any], default: Any, dtype: Any) -> jax.Array:
        """A number for each word."""
        return jnp.asarray([table.get(w, default) for w in self.words], canonical(dtype))[self.places]
