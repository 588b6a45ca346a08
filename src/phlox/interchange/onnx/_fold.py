"""Operators on small arrays that are known, computed while the graph is written: indices and sizes become numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_MOST = 4096
"""Elements; larger results would make the file larger than what they save."""


def folded(
    kind: str, inputs: Sequence[np.ndarray | None], attributes: dict[str, Any], shape: Sequence[Any], dtype: Any
) -> np.ndarray | None:
    """The result of an operator whose inputs are all known, or None where it is left to the reader."""
    if not all(isinstance(n, (int, np.integer)) for n in shape):
        return None
    count = int(np.prod([int(n) for n in shape]))
    if count == 0:  # readers differ about arrays without elements
        return np.zeros([int(n) for n in shape], dtype)
    run = _RUN.get(kind)
    if run is None or any(v is None for v in inputs) or count > _MOST:
        return None
    with np.errstate(all="ignore"):
        return np.asarray(run(*inputs, **attributes)).astype(dtype).reshape([int(n) for n in shape])


def _concat(*xs: np.ndarray, axis: int) -> np.ndarray:
    return np.concatenate(xs, axis)


def _unsqueeze(x: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return np.expand_dims(x, tuple(int(a) for a in axes))


def _gather(x: np.ndarray, at: np.ndarray, *, axis: int) -> np.ndarray:
    return np.take(x, at, axis)


def _slice(x: np.ndarray, start: np.ndarray, end: np.ndarray, axes: np.ndarray, steps: np.ndarray) -> np.ndarray:
    along: list[Any] = [slice(None)] * x.ndim
    for a, first, last, step in zip(axes, start, end, steps, strict=True):
        stop = None if step < 0 and last < -x.shape[a] else int(last)
        along[int(a)] = slice(int(first), stop, int(step))
    return x[tuple(along)]


_RUN: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Max": np.maximum, "Min": np.minimum, "Neg": np.negative,
    "Equal": np.equal, "Less": np.less, "LessOrEqual": np.less_equal, "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal, "And": np.logical_and, "Or": np.logical_or, "Not": np.logical_not,
    "Where": np.where, "Cast": lambda x, to: x, "Identity": lambda x: x, "Concat": _concat, "Unsqueeze": _unsqueeze,
    "Squeeze": lambda x, axes: x, "Reshape": lambda x, shape, allowzero=0: x, "Gather": _gather, "Slice": _slice,
    "Transpose": lambda x, perm: np.transpose(x, perm), "Expand": lambda x, shape: np.broadcast_to(x, tuple(shape)),
}  # fmt: skip
