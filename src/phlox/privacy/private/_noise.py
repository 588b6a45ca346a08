"""Gaussian noise whose digits give nothing away, and keys that nobody can guess."""

from __future__ import annotations

import secrets
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_DRAWS = 4  # summed for one number


def secret_key(seed: int | None) -> Any:
    """A key from the system's entropy, or from a seed."""
    if seed is not None:
        return jax.random.key(seed, impl="threefry2x32")
    words = np.frombuffer(secrets.token_bytes(8), np.uint32)
    return jax.random.wrap_key_data(jnp.asarray(words), impl="threefry2x32")


def gaussian(key: Any, like: Any) -> Any:
    r"""Noise $(z_1 + z_2 + z_3 + z_4) / 2$ of variance 1 in the form of an array; of complex ones, in each part.

    One draw in float32 ends at 5.4 standard deviations, and its last digits may tell which numbers it was added to.
    The sum of several has neither fault.

    Source: Holohan and Braghin, "Secure random sampling in differential privacy", 2021.
    """
    if jnp.iscomplexobj(like):
        real, imaginary = jax.random.split(key)
        return jax.lax.complex(gaussian(real, like.real), gaussian(imaginary, like.imag))
    return jax.random.normal(key, (_DRAWS, *like.shape), like.dtype).sum(0) / jnp.sqrt(_DRAWS).astype(like.dtype)


def with_noise(total: dict[str, Any], key: Any, scale: Any) -> dict[str, Any]:
    """Every array with noise of a standard deviation of its own draw, no two alike."""
    keys = jax.random.split(key, max(len(total), 1))
    return {path: g + scale * gaussian(k, g) for k, (path, g) in zip(keys, sorted(total.items()), strict=True)}
