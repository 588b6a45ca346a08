"""px.compress.calibrate: the range of what comes into layers, measured on data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from phlox.compress._layers import PRODUCTS, check_model, quantizable
from phlox.compress.calibration._clipping import METHODS
from phlox.compress.calibration._factors import Factors
from phlox.compress.calibration._watching import (
    Forward,
    HistogramSeen,
    RangeSeen,
    batches_of,
    called,
    forward_of,
    watch,
)
from phlox.core import Module, RangeError, StructureError, Where, answering, plain_class

_WHERE = "px.compress.calibrate"


@dataclass(frozen=True)
class Ranges:
    """The range of what comes into layers, by path; printed, a table."""

    ranges: Mapping[str, tuple[float, float]]
    """Its two ends."""
    method: str

    def __str__(self) -> str:
        width = max(map(len, ["layer", *self.ranges]))
        lines = [f"{'layer':<{width}}  {'low':>10}  {'high':>10}"]
        lines += [f"{path:<{width}}  {low:>10.4g}  {high:>10.4g}" for path, (low, high) in self.ranges.items()]
        return "\n".join(lines)


@answering
def calibrate(
    model: Module,
    data: Any,
    *,
    method: str = "minmax",
    percentile: float = 99.99,
    where: Where | None = None,
    skip: Where | None = None,
    factors: Factors | None = None,
    forward: Forward | None = None,
    batch_size: int = 32,
) -> Ranges:
    """The range of what comes into layers, over data as they will see; ``px.compress.quantize(inputs=…)`` takes it.

    The model infers, and stays as it is.

    Arguments:
        model: a model with layers Dense, Conv or DepthwiseConv.
        data: as of ``px.fit``, of a tuple the first part being the input; some hundred examples are enough. All
            batches are held while it runs.
        method: where a range is cut: ``"minmax"`` nowhere; ``"percentile"`` where it holds so many of the numbers;
            ``"mse"`` where the integers are nearest to the numbers; ``"entropy"`` where the two distributions are.
        percentile: percent of the numbers, for that method.
        where, skip: which layers, as of ``px.compress.quantize``.
        factors: what inputs will be multiplied with, as of ``px.compress.quantize``.
        forward: how the model is called, ``forward(model, batch)``, where batches are of another form.
        batch_size: examples in a batch, for data that comes without batches.

    Raises:
        RangeError: no data, another method, a choice that means no such layer.
        StructureError: a layer that is never called, or into which zeros alone come, or numbers that are not finite.

    Source: Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018; Migacz, "8-bit
    inference with TensorRT", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense(2, 3), px.relu)
    >>> px.compress.calibrate(model, jnp.array([[1.0, -2.0], [0.5, 3.0]])).ranges
    {'layers.0': (-2.0, 3.0)}
    """
    if method not in METHODS:
        known = ", ".join(f'"{name}"' for name in METHODS)
        raise RangeError(f"method {known}", got=repr(method)[:100], fix="choose one of them", where=_WHERE)
    if not 50 < percentile <= 100:
        fix = "99.99 leaves out one in ten thousand"
        raise RangeError("a percentile above 50, at most 100", got=repr(percentile)[:100], fix=fix, where=_WHERE)
    check_model(model, _WHERE)
    layers = quantizable(model, where, skip, _WHERE)
    paths = [path for path, layer in layers.items() if plain_class(type(layer)) in PRODUCTS]
    if not paths:
        fix = "leave where= out"
        raise StructureError("a Dense or Conv among the layers", got=", ".join(layers), fix=fix, where=_WHERE)
    batches, forward = batches_of(data, batch_size, _WHERE), forward_of(forward, _WHERE)
    of = {} if factors is None else factors.factors
    seen = watch(model, paths, lambda path, layer: RangeSeen(layer, of.get(path)), batches, forward, _WHERE)
    whole = {path: (low, high) for path, low, high in called(seen)}
    _check(paths, whole)
    cut = METHODS[method]
    if cut is None:
        return Ranges(whole, method)
    spread = {path: ends for path, ends in whole.items() if ends[0] < ends[1]}
    look = lambda path, layer: HistogramSeen(layer, *spread[path], of.get(path))  # noqa: E731
    more = watch(model, spread, look, batches, forward, _WHERE)
    options = {"percentile": percentile} if method == "percentile" else {}
    found = {path: cut(np.asarray(one.counts), *spread[path], **options) for path, one in more.items()}
    return Ranges(whole | found, method)


def _check(paths: list[str], found: Mapping[str, tuple[float, float]]) -> None:
    """Refuse ranges that say nothing."""
    for path in paths:
        if path not in found:
            got, fix = "none", f'leave it out: skip="{path}"'
        elif not all(map(math.isfinite, found[path])):
            got, fix = "NaN or infinite numbers", "look for them with px.watch_nonfinite()"
        elif found[path] == (0.0, 0.0):
            got, fix = "zeros alone", f'pass data as the model will see, or leave the layer out: skip="{path}"'
        else:
            continue
        expected = f"inputs of {path or 'the model'} in a range of finite numbers"
        raise StructureError(expected, got=got, fix=fix, where=_WHERE)
