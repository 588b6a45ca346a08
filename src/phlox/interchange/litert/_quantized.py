"""Rules: weights as integers and rounded inputs, as operations whose names the converter's process knows.

That process writes them as integers of the file; what follows on it needs no rule. Where numbers are not known while
the file is written (those of a loop, scales that are found in a call), the plain form stands.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from phlox.core import ExportError
from phlox.core._compat import Tracer
from phlox.interchange.litert._retrace import Rule, Run

INTEGERS, ROUNDED = "phlox.integers", "phlox.rounded"


def _dequantize(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """A weight with a scale for each output, or one; what rows are in groups get theirs by arithmetic."""
    params, (codes, scale, *zero) = equation.params, values
    if isinstance(params["bits"], str):
        fix = "quantise with bits=8, or choose another format: onnx"
        raise ExportError("weights of whole numbers, for LiteRT", got=f"floats of 8 bits, {params['bits']}", fix=fix)
    if any(isinstance(x, Tracer) for x in values):
        from phlox.compress import DEQUANTIZE  # as few programs have integers

        return run(jax.make_jaxpr(functools.partial(DEQUANTIZE.reference, **params))(*values), values)
    codes, scale = np.asarray(codes), np.asarray(scale)
    zeros = np.asarray(zero[0]) if zero else np.zeros(scale.shape, np.int8)
    shape, axis = tuple(map(int, params["shape"])), params["axis"]
    if params["bits"] == 4:
        codes = _halves(codes, shape[-1] if axis == -1 else math.prod(shape[:-1]), axis)
    if params["group"] is not None:
        return [_by_groups(codes, scale, zeros, params["group"], axis).reshape(shape)]
    along = len(shape) - 1 if axis == -2 else 0
    return [_integers(codes.reshape(shape), scale.reshape(-1), zeros.reshape(-1), along)]


def _halves(both: np.ndarray, size: int, axis: int) -> np.ndarray:
    """The numbers of bytes that hold two, the first in its low half."""
    pair = np.stack([both & 15, both >> 4], axis).astype(np.int8)
    shape = list(both.shape)
    shape[axis] *= 2
    return ((pair ^ 8) - 8).reshape(shape).take(range(size), axis)


def _by_groups(codes: np.ndarray, scale: np.ndarray, zeros: np.ndarray, group: int, axis: int) -> Any:
    """Integers of the file by themselves, less their zeros, times their scales, group by group."""
    at, size = codes.ndim + axis, codes.shape[axis]
    widths = [(0, 0)] * codes.ndim
    widths[at] = (0, scale.shape[at] * group - size)
    apart = (*codes.shape[:at], scale.shape[at], group, *codes.shape[at + 1 :])
    whole = _integers(np.pad(codes, widths).reshape(apart), np.ones(1, scale.dtype), np.zeros(1, np.int8), 0)
    beside = lambda x: jnp.asarray(np.expand_dims(x, at + 1), scale.dtype)  # noqa: E731
    numbers = (whole - beside(zeros) if zeros.any() else whole) * beside(scale)
    together = (*codes.shape[:at], scale.shape[at] * group, *codes.shape[at + 1 :])
    return lax.slice_in_dim(numbers.reshape(together), 0, size, axis=at)


def _integers(codes: np.ndarray, scale: np.ndarray, zeros: np.ndarray, axis: int) -> jax.Array:
    beside = [1] * codes.ndim
    beside[axis] = -1

    def plain(codes: Any, scale: Any, zeros: Any, *, axis: int) -> Any:
        del axis
        return (codes.astype(scale.dtype) - zeros.astype(scale.dtype).reshape(beside)) * scale.reshape(beside)

    return lax.composite(plain, INTEGERS)(jnp.asarray(codes), jnp.asarray(scale), jnp.asarray(zeros), axis=axis)


def _round(equation: Any, values: list[Any], run: Run) -> list[Any]:
    plain = lambda *xs: equation.primitive.bind(*xs, **equation.params)  # noqa: E731
    known = len(values) == 3 and not any(isinstance(x, Tracer) for x in values[1:])
    return [(lax.composite(plain, ROUNDED) if known else plain)(*values)]


RULES: dict[str, Rule] = {"phlox_dequantize": Rule(_dequantize), "phlox_round": Rule(_round)}
