"""Complex arrays as two real ones, in lists of values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from phlox.interchange.onnx._graph import Complex, Value


def is_complex(aval: Any) -> bool:
    """Whether a type is complex; keys of random streams have dtypes that NumPy does not know."""
    return getattr(aval.dtype, "name", "") in ("complex64", "complex128")


def spread(values: Sequence[Any]) -> list[Value]:
    """All real arrays in order."""
    return [v for x in values for v in ((x.re, x.im) if isinstance(x, Complex) else (x,))]


def parts(values: Sequence[Value], types: Sequence[Any]) -> list[Any]:
    """The opposite of ``spread``."""
    rest = iter(values)
    return [_next(rest, t) for t in types]


def spread_types(types: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Shapes and dtypes, a complex one as two."""
    found: list[tuple[Any, Any]] = []
    for t in types:
        found += [(tuple(t.shape), real_of(t.dtype))] * 2 if is_complex(t) else [(tuple(t.shape), t.dtype)]
    return found


def _next(rest: Iterator[Value], aval: Any) -> Any:
    return Complex(next(rest), next(rest)) if is_complex(aval) else next(rest)


def real_of(dtype: Any) -> np.dtype:
    """The dtype of each part.

    >>> str(real_of("complex64"))
    'float32'
    """
    return np.dtype({"complex64": "float32", "complex128": "float64"}[np.dtype(dtype).name])
