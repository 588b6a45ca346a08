"""What of a batch a model is called with, for what looks at models and not at losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from phlox.loop.batches._batch import read_batch


def input_of(batch: Any) -> Any:
    """The first part of a tuple, or the array that a batch is; None of a dict, whose parts have no order.

    >>> import jax.numpy as jnp
    >>> input_of((jnp.ones((2, 3)), jnp.zeros(2))).shape, input_of({"x": jnp.ones(2)})
    ((2, 3), None)
    """
    read = read_batch(batch)
    x = read.whole if read.parts is None else read.parts[0]
    return None if isinstance(x, Mapping) else x


def shape_of_input(batch: Any) -> jax.ShapeDtypeStruct | None:
    """The shape and dtype of a batch's input, traced or not; None where it is no array."""
    x = input_of(batch)
    return jax.ShapeDtypeStruct(jnp.shape(x), x.dtype) if hasattr(x, "dtype") else None
