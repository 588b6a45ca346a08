"""What counts as an array, and how the way to one is written."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from phlox.core import _compat

Path = tuple[Any, ...]
ARRAY_TYPES = (jax.Array, np.ndarray, jax.ShapeDtypeStruct)


def is_array(value: Any) -> bool:
    """True for JAX arrays (typed keys and tracers too), NumPy arrays, and shapes that stand for arrays."""
    return type(value) is _compat.ArrayImpl or isinstance(value, ARRAY_TYPES)


def dotted(path: Path) -> str:
    """``('layers', 0, 'weight')`` as ``layers.0.weight``."""
    return ".".join(str(p) for p in path)


def displayed(path: Path) -> str:
    """``('layers', 0, 'weight')`` as ``.layers[0].weight``, to stand behind a variable's name."""
    return "".join(f".{p}" if isinstance(p, str) and p.isidentifier() else f"[{p!r}]" for p in path)
