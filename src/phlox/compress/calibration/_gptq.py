"""px.compress.gptq: integers that make up for each other, by what comes in."""

from __future__ import annotations

from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from phlox.compress._integers import Integers, stored
from phlox.compress._layers import INTEGER, PRODUCTS
from phlox.compress._scheme import Scheme
from phlox.compress.calibration._factors import watched_layers
from phlox.compress.calibration._watching import Forward, PatchesSeen, groups_of
from phlox.compress.layers._quantized import matrix_of, rank_of
from phlox.core import Module, RangeError, Where, answering, at, copy, plain_class, replaced

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
    correct_bias: bool = False,
    forward: Forward | None = None,
    batch_size: int = 32,
) -> M:
    r"""A copy of a model whose maps have integers that keep what they give on data: $\min \|X W - X \hat W\|^2$.

    Rows become integers one after the other; after each, those that are left change so that the products stay as near
    as they can: by the least squares of $X^T X$, to whose diagonal a share of its mean is added.

    What comes into a map is noted in one pass of the model as it was given. Scales are those of the rows as they stand
    when their group begins.

    Arguments:
        model: a model with layers Dense, as language models have, Conv or DepthwiseConv; other layers stay. Of
            convolutions batches are to be small: every window of a batch is held.
        data, forward, batch_size: as of ``px.compress.calibrate``.
        bits, where, skip, group, symmetric, per: as of ``px.compress.quantize``.
        damping: that share.
        correct_bias: whether the bias makes up for what the mean of what comes in loses, $b + E[x]^T (W - \hat W)$, and
            the rows for what is about that mean. A layer without a bias is left without one.

    Raises:
        RangeError: no data, an option outside its range, a choice that means no such layer.
        StructureError: a layer that is never called, or that stands for several, stacked.

    Source: Frantar et al., "GPTQ: accurate post-training quantization for generative pre-trained transformers", 2023;
    without the order by size of the diagonal. The bias: Nagel et al., "Data-free quantization through weight
    equalization and bias correction", 2019, by the mean over data.

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
    layers, seen = watched_layers(
        model, data, (where, skip), PRODUCTS, lambda path, layer: PatchesSeen(layer), forward, batch_size, _WHERE
    )
    twin = copy(model)
    fresh: dict[int, Module] = {}
    for path, layer in layers.items():
        centred = correct_bias and layer.bias is not None
        gram = _about_mean(seen[path]) if centred else np.asarray(seen[path].gram, np.float64)
        held = compensated(_apart(layer, layer.weight), gram, scheme, damping)
        cls, place = INTEGER[plain_class(type(layer))], at(twin, path)
        small: Any = cls.__new__(cls).hold(place, scheme, held)
        if centred:
            small.bias = _corrected(layer, small, seen[path])
        fresh[id(place)] = small
    return replaced(twin, fresh, _WHERE)


def _apart(layer: Any, weight: Any) -> Array:
    """A weight as (groups, rows, outputs of a group)."""
    groups = groups_of(layer)
    matrix = np.asarray(matrix_of(weight, rank_of(layer), -2), np.float64)
    return np.moveaxis(matrix.reshape(len(matrix), groups, -1), 1, 0)


def _about_mean(seen: PatchesSeen) -> Array:
    """The products of what comes in, less its mean; a millionth of their diagonal is left, as sums have 24 bits."""
    gram, sums = np.asarray(seen.gram, np.float64), np.asarray(seen.sums, np.float64)
    about = gram - sums[:, :, None] * sums[:, None] / float(seen.count)
    np.einsum("gii->gi", about)[:] += 1e-6 * np.einsum("gii->gi", gram)
    return about


def _corrected(layer: Any, small: Any, seen: PatchesSeen) -> Any:
    """The bias with which outputs have the mean that they had."""
    mean = np.asarray(seen.sums, np.float64) / float(seen.count)
    lost = np.einsum("gr,gro->go", mean, _apart(layer, layer.weight) - _apart(layer, small.weight))
    return (layer.bias + lost.reshape(-1)).astype(layer.bias.dtype)


def _together(apart: Array) -> Array:
    """What there is for groups, as (rows, outs)."""
    return np.moveaxis(apart, 0, 1).reshape(apart.shape[1], -1)


def compensated(weight: Array, gram: Array, scheme: Scheme, damping: float) -> Integers:
    """The integers of a weight (groups, rows, outs), given the products (groups, rows, rows) of what comes in."""
    weight, upper = weight.copy(), _upper(gram, damping)
    size = weight.shape[1]
    codes = np.zeros(weight.shape, np.int8)
    grids: list[tuple[Array, Array]] = []
    group = scheme.group or size
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        errors = np.zeros((len(weight), stop - start, weight.shape[2]))
        for i in range(start, stop):
            if i % group == 0:
                later = slice(stop, i + group)  # rows behind this block, to which earlier rows of it still owe
                owed = np.swapaxes(upper[:, start:i, later], 1, 2) @ errors[:, : i - start]
                rows = np.concatenate([weight[:, i : min(stop, i + group)], weight[:, later] - owed], 1)
                grids.append(_grid(rows, scheme))
            scale, zero = grids[-1]
            codes[:, i] = np.clip(np.round(weight[:, i] / scale) + zero, scheme.least, scheme.most)
            left = (weight[:, i] - (codes[:, i] - zero) * scale) / upper[:, i, i, None]
            weight[:, i:stop] -= upper[:, i, i:stop, None] * left[:, None]
            errors[:, i - start] = left
        weight[:, stop:] -= np.swapaxes(upper[:, start:stop, stop:], 1, 2) @ errors
    scale, zero = (_together(np.stack(parts, 1)) for parts in zip(*grids, strict=True))
    if scheme.per == "tensor":
        scale, zero = scale[:, :1], zero[:, :1]
    held = None if scheme.symmetric else jnp.asarray(zero.astype(np.int8))
    return stored(jnp.asarray(_together(codes)), jnp.asarray(scale.astype(np.float32)), held, scheme, -2)


def _upper(gram: Array, damping: float) -> Array:
    """U with $U^T U = (X^T X + λ I)^{-1}$; a feature that never came in has 1 on the diagonal."""
    gram = gram.copy()
    diagonal = np.einsum("gii->gi", gram)
    diagonal[diagonal == 0] = 1
    diagonal += damping * diagonal.mean(1, keepdims=True)
    return np.swapaxes(np.linalg.cholesky(np.linalg.inv(gram)), 1, 2)


def _grid(rows: Array, scheme: Scheme) -> tuple[Array, Array]:
    """Scale and zero of each output for some rows (groups, rows, outs), in the digits that are kept."""
    low, high = np.minimum(rows.min(1), 0), np.maximum(rows.max(1), 0)
    if scheme.per == "tensor":
        low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
    if scheme.symmetric:
        scale, zero = np.maximum(-low, high) / scheme.most, np.zeros_like(low)
    else:
        scale = (high - low) / (scheme.most - scheme.least)
        zero = np.clip(scheme.least - np.round(low / np.where(scale > 0, scale, 1)), scheme.least, scheme.most)
    return np.where(scale > 0, scale, 1).astype(np.float32).astype(np.float64), zero
