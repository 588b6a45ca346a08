"""What is wrong with arrays that are printed: a lost buffer, NaN, Inf, all zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import _compat

LIMIT = 2**28  # bytes; a larger model prints without its values being read

LOST, NAN, INF, ZERO = "lost", "NaN", "Inf", "zero"
Findings = frozenset[str]


def findings(arrays: Sequence[Any]) -> tuple[list[Findings], bool]:
    """What each array suffers from, and whether the values were read; of more than ``LIMIT`` bytes they are not.

    NumPy reads them where that copies nothing, and no program is compiled. Under an eager gradient the concrete values
    are looked at. Of what has no value here (tracers, shapes, parts of other processes) nothing is said.
    """
    found: list[Findings] = [frozenset({LOST}) if _is_lost(a) else frozenset() for a in arrays]
    values = {i: v for i, a in enumerate(arrays) if not found[i] and (v := _readable(a)) is not None}
    if sum(v.nbytes for v in values.values()) > LIMIT:
        return found, False
    try:
        read = jax.device_get(list(values.values()))
    except (RuntimeError, ValueError):  # the computation that should have made one of them failed
        return found, False
    for i, value in zip(values, read, strict=True):
        found[i] = _marks(value)
    return found, True


def _is_lost(a: Any) -> bool:
    return isinstance(a, jax.Array) and not isinstance(a, _compat.Tracer) and a.is_deleted()


def _readable(a: Any) -> Any:
    """The concrete floating array behind ``a``, or None."""
    value = _compat.concrete(a)
    if not isinstance(value, (jax.Array, np.ndarray)) or not jnp.issubdtype(value.dtype, jnp.inexact) or not value.size:
        return None
    if isinstance(value, jax.Array) and (not value.is_fully_addressable or value.is_deleted()):
        return None
    return value


def _marks(a: Any) -> Findings:
    """Two passes without temporaries: the smallest and the largest number tell all but an Inf beside a NaN."""
    if a.dtype.kind not in "fc":  # bfloat16 and smaller
        a = a.astype(np.float32)
    parts = (a.real, a.imag) if a.dtype.kind == "c" else (a,)
    with np.errstate(invalid="ignore"):
        ends = [end for part in parts for end in (part.min(), part.max())]
    nan = any(np.isnan(ends))
    inf = any(np.isinf(part).any() for part in parts) if nan else any(np.isinf(ends))
    zero = not any(ends)
    return frozenset(name for name, holds in ((NAN, nan), (INF, inf), (ZERO, zero)) if holds)
