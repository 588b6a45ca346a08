"""What is known while tracing: sizes, axes, constants. NumPy computes with them, JAX with everything else."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_known(x: Any) -> bool:
    """Whether a value is the host's own."""
    return isinstance(x, np.ndarray | np.generic)


def library(*xs: Any) -> Any:
    """NumPy where all values are known, JAX's where one is not.

    >>> library(np.ones(3), None) is np
    True
    """
    return np if all(x is None or is_known(x) for x in xs) else jnp


def canonical(dtype: Any) -> np.dtype:
    """The dtype that JAX has for this one: 32 bits for 64 where its 64-bit mode is off.

    >>> str(canonical("float32"))
    'float32'
    """
    return np.dtype(jax.dtypes.canonicalize_dtype(dtype))


def cast(x: Any, dtype: Any) -> Any:
    """A value in another dtype, as far as JAX has it."""
    return np.asarray(x).astype(dtype) if is_known(x) else x.astype(canonical(dtype))


def is_float(x: Any) -> bool:
    """Whether a value is floating, narrow kinds included."""
    return bool(jnp.issubdtype(x.dtype, jnp.floating))


def wide(x: Any) -> Any:
    """A narrow float as float32, in which sums of it are taken."""
    return cast(x, np.float32) if is_float(x) and x.dtype.itemsize < 4 else x


def constant(x: Any) -> Any:
    """A value for JAX's functions that do not take NumPy's."""
    return jnp.asarray(x, canonical(x.dtype)) if is_known(x) else x
