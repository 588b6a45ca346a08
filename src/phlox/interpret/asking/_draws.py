"""Random numbers on the host, from a key of JAX."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from phlox.core import key_or_draw


def generator(key: Any) -> np.random.Generator:
    """NumPy's generator from a key, or from the stream of ``px.seed``; nothing has to be compiled for it."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key_or_draw(key))).tolist())
