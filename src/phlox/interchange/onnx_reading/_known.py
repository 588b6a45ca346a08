"""What is known while tracing: sizes, axes, constants. NumPy computes with them, JAX with everything else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

_SMALL = 1 << 12
_MOST = 1 << 24


def is_known(x: Any) -> bool:
    """Whether a value is the host's own."""
    return isinstance(x, np.ndarray | np.generic)


def library(*xs: Any) -> Any:
    """NumPy where all values are known, JAX's where one is not.

    >>> library(np.ones(3), None) is np
    True
    """
    if not all(x is None or is_known(x) for x in xs):
        return jnp
    if sum(x.size for x in xs if x is not None) > _SMALL:
        _check_together([x.shape for x in xs if x is not None])
    return np


def _check_together(shapes: Sequence[Sequence[int]]) -> None:
    """Refuse arrays that are small by themselves, and large as a table of all pairs."""
    total = math.prod(map(max, zip_longest(*(reversed(s) for s in shapes), fillvalue=1)))
    if total > _MOST:
        raise MemoryError(f"{total} numbers of all pairs, known while tracing")


def is_symbol(n: Any) -> bool:
    """Whether a size is an expression of an export's symbols, no number."""
    return not isinstance(n, int | np.integer | np.ndarray | np.generic | jax.Array | str)


def sizes(ns: Sequence[Any]) -> np.ndarray:
    """Sizes as a known value, an array of objects where one is a symbol.

    >>> sizes((2, 3)).dtype.name
    'int64'
    """
    return np.array(list(ns), object if any(map(is_symbol, ns)) else np.int64)


def has_symbols(x: Any) -> bool:
    """Whether a value is of sizes among which are symbols."""
    return is_known(x) and x.dtype == object and any(map(is_symbol, np.ravel(x)))


def hosted(x: Any) -> Any:
    """What NumPy gives for arrays of symbols without axes, a symbol or a number of Python's, as an array again."""
    if isinstance(x, bool | int):
        return np.asarray(x)
    return np.array(x, object) if not isinstance(x, tuple | list | dict) and jax.export.is_symbolic_dim(x) else x


def canonical(dtype: Any) -> np.dtype:
    """The dtype that JAX has for this one: 32 bits for 64 where its 64-bit mode is off.

    >>> str(canonical("float32"))
    'float32'
    """
    return np.dtype(jax.dtypes.canonicalize_dtype(dtype))


def cast(x: Any, dtype: Any) -> Any:
    """A value in another dtype, as far as JAX has it; symbols stay what they are."""
    if has_symbols(x) and np.dtype(dtype).kind in "iu":
        return x
    x = constant(x) if has_symbols(x) else x
    return np.asarray(x).astype(dtype) if is_known(x) else x.astype(canonical(dtype))


def is_float(x: Any) -> bool:
    """Whether a value is floating, narrow kinds included."""
    return x.dtype != object and bool(jnp.issubdtype(x.dtype, jnp.floating))


def wide(x: Any) -> Any:
    """A narrow float as float32, in which sums of it are taken."""
    return cast(x, np.float32) if is_float(x) and x.dtype.itemsize < 4 else x


def constant(x: Any) -> Any:
    """A value for JAX's functions that do not take NumPy's."""
    if has_symbols(x):
        return jnp.stack([jnp.asarray(n) for n in x.reshape(-1)]).reshape(x.shape)
    return jnp.asarray(x, canonical(x.dtype)) if is_known(x) else x
