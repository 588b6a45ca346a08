"""px.compress.gptq: integers that make up for each other, by what comes in."""

from __future__ import annotations

from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from phlox.compress._integers import Integers, stored
from phlox.compress._scheme import Scheme
from phlox.compress.calibration._factors import features
from phlox.compress.calibration._watching import Forward
from phlox.compress.layers._linear import QuantizedDense
from phlox.core import Module, RangeError, Where, answering, at, copy, replaced

M = TypeVar("M", bound=Module)
Array = np.ndarray[Any, Any]
_WHERE = "px.compress.gptq"
_BLOCK = 128  # rows whose errors are handed on together


@answering
def gptq(
    model: M,
    data: Any,
    bits: int = 4,
    *,
    where: Where | None = None,
    skip: Where | None = None,
    group: int | None = None,
    symmetric: bool = True,
    per: str = "channel",
    damping: float = 0.01,
    forward: Forward | None = None,
    batch_size: int = 32,
) -> M:
    r"""A copy of a model whose maps have integers that keep what they give on data: $\min \|X W - X \hat W\|^2$.

    Rows become integers one after the other; after each, those that are left change so that the products stay as near
    as they can: by the least squares of $X^T X$, to whose diagonal a share of its mean is added.

    What comes into a map is noted in one pass of the model as it was given. Scales are those of the rows as they stand
    when their group begins.

    Arguments:
        model: a model with layers Dense, as language models have; other layers stay.
        data, forward, batch_size: as of ``px.compress.calibrate``.
        bits, where, skip, group, symmetric, per: as of ``px.compress.quantize``.
        damping: that share.

    Raises:
        RangeError: no data, an option outside its range, a choice that means no such layer.
        StructureError: a layer that is never called, or that stands for several, stacked.

    Source: Frantar et al., "GPTQ: accurate post-training quantization for generative pre-trained transformers", 2023;
    without the order by size of the diagonal.

    >>> import jax, phlox as px
    >>> model, x = px.Chain(px.Dense(16, 8, key=0)), jax.random.normal(jax.random.key(1), (64, 16))
    >>> better, plain = px.compress.gptq(model, x), px.compress.quantize(model, 4)
    >>> bool(px.losses.mse(better(x), model(x)) < px.losses.mse(plain(x), model(x)))
    True
    """
    scheme = Scheme(bits, group, symmetric, per, _WHERE)
    if isinstance(damping, bool) or not isinstance(damping, int | float) or not 0 < damping < 1:
        fix = "0.01 is usual"
        raise RangeError("a damping between 0 and 1", got=repr(damping)[:100], fix=fix, where=_WHERE)
    layers, seen = features(model, data, where, skip, forward, batch_size, _WHERE, products=True)
    twin = copy(model)
    fresh: dict[int, Module] = {}
    for path, layer in layers.items():
        weight, gram = (np.asarray(array, np.float64) for array in (layer.weight, seen[path].gram))
        held = compensated(weight, gram, scheme, damping)
        empty: Any = QuantizedDense.__new__(QuantizedDense)
        fresh[id(at(twin, path))] = empty.hold(at(twin, path), scheme, held)
    return replaced(twin, fresh, _WHERE)


def compensated(weight: Array, gram: Array, scheme: Scheme, damping: float) -> Integers:
    """The integers of a weight (in, out), given the products (in, in) of what comes in."""
    size = len(weight)
    weight, upper = weight.copy(), _upper(gram, damping)
    codes = np.zeros(weight.shape, np.int8)
    scales: list[Array] = []
    zeros: list[Array] = []
    group = scheme.group or size
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        errors = np.zeros((stop - start, weight.shape[1]))
        for i in range(start, stop):
            if i % group == 0:
                # what earlier rows of this block still owe to rows behind it
                later = slice(stop, i + group)
                owed = upper[start:i, later].T @ errors[: i - start]
                rows = np.concatenate([weight[i : min(stop, i + group)], weight[later] - owed])
                scale, zero = _grid(rows, scheme)
                scales.append(scale)
                zeros.append(zero)
            codes[i] = np.clip(np.round(weight[i] / scales[-1]) + zeros[-1], scheme.least, scheme.most)
            left = (weight[i] - (codes[i] - zeros[-1]) * scales[-1]) / upper[i, i]
            weight[i:stop] -= np.outer(upper[i, i:stop], left)
            errors[i - start] = left
        weight[stop:] -= upper[start:stop, stop:].T @ errors
    scale = np.stack(scales).astype(np.float32)
    zero = None if scheme.symmetric else jnp.asarray(np.stack(zeros).astype(np.int8))
    if scheme.per == "tensor":
        scale, zero = scale[:, :1], None if zero is None else zero[:, :1]
    return stored(jnp.asarray(codes), jnp.asarray(scale), zero, scheme, -2)


def _upper(gram: Array, damping: float) -> Array:
    """U with $U^T U = (X^T X + λ I)^{-1}$; a feature that never came in has 1 on the diagonal."""
    gram = gram.copy()
    diagonal = np.einsum("ii->i", gram)
    diagonal[diagonal == 0] = 1
    diagonal += damping * diagonal.mean()
    return np.linalg.cholesky(np.linalg.inv(gram)).T


def _grid(rows: Array, scheme: Scheme) -> tuple[Array, Array]:
    """Scale and zero of each output for some rows, in the digits that are kept."""
    low, high = np.minimum(rows.min(0), 0), np.maximum(rows.max(0), 0)
    if scheme.per == "tensor":
        low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
    if scheme.symmetric:
        scale, zero = np.maximum(-low, high) / scheme.most, np.zeros_like(low)
    else:
        scale = (high - low) / (scheme.most - scheme.least)
        zero = np.clip(scheme.least - np.round(low / np.where(scale > 0, scale, 1)), scheme.least, scheme.most)
    return np.where(scale > 0, scale, 1).astype(np.float32).astype(np.float64), zero
