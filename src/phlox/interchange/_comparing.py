"""How far two results are apart, and how far they may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

_TOLERANCE = {"bfloat16": 2e-2, "float16": 2e-3, "float64": 1e-10, "complex128": 1e-10}
_USUAL = 1e-5


def tolerance_of(dtypes: Iterable[Any]) -> float:
    """What the least precise of these dtypes allows."""
    real = [jnp.dtype(d).name for d in dtypes if jnp.issubdtype(d, jnp.inexact)]
    return max((_TOLERANCE.get(name, _USUAL) for name in real), default=_USUAL)


def difference(found: Any, wanted: Any) -> float:
    """The largest difference, as a share of the largest number that is wanted, or of 1 where that is smaller.

    Infinite where shapes, dtypes, whole numbers, or places of NaN and infinities differ.

    >>> difference(np.float32([1.0, 2.5]), np.float32([1.0, 2.0]))
    0.25
    """
    found, wanted = np.asarray(found), np.asarray(wanted)
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return float("inf")
    if not jnp.issubdtype(wanted.dtype, jnp.inexact):
        return 0.0 if np.array_equal(found, wanted) else float("inf")
    wide = np.complex128 if jnp.issubdtype(wanted.dtype, jnp.complexfloating) else np.float64
    a, b = found.astype(wide), wanted.astype(wide)
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
        return float("inf")
    a, b = a[finite], b[finite]
    return float(np.abs(a - b).max(initial=0.0) / max(1.0, np.abs(b).max(initial=0.0)))


def largest(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> float:
    """The largest difference among outputs by name; infinite where one is missing."""
    return max((difference(found[n], x) if n in found else float("inf") for n, x in wanted.items()), default=0.0)
