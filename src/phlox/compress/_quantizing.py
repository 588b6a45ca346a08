"""px.compress.quantize and dequantize: weights as integers, and as floats again."""

from __future__ import annotations

from typing import Any, TypeVar

import jax.numpy as jnp

from phlox.compress._integers import grid
from phlox.compress._layers import INTEGER, PRODUCTS, check_model, quantizable
from phlox.compress._scheme import Scheme
from phlox.compress.calibration._calibrating import Ranges
from phlox.compress.calibration._factors import Factors
from phlox.compress.layers._products import INPUT
from phlox.compress.layers._quantized import Quantized, rank_of
from phlox.core import Module, StructureError, Where, answering, copy, describe, modules, plain_class, replaced

M = TypeVar("M", bound=Module)
_WHERE = "px.compress.quantize"


@answering
def quantize(
    model: M,
    bits: int | str = 8,
    *,
    where: Where | None = None,
    skip: Where | None = None,
    group: int | None = None,
    symmetric: bool = True,
    per: str = "channel",
    inputs: str | Ranges | None = None,
    factors: Factors | None = None,
) -> M:
    r"""A copy of a model whose weights are integers: $w ≈ s (q - z)$, to the nearest.

    Layers keep their kind, their paths and what they compute with, ``weight``; held are a byte for each number, or half
    a one, and scales. Weights stand still from then on; biases, norms and what else there is train. Where one layer
    shall have other bits than the rest, it is quantised first: layers that have integers are left as they are.

    With ``symmetric`` $s = \max |w| / (2^{b-1} - 1)$ and z = 0; else $s = (\max w - \min w) / (2^b - 1)$, where 0 lies
    between the two, and z is where 0 falls.

    Arguments:
        model: a model with layers Dense, Embedding, Conv, DepthwiseConv or ConvTranspose, those of attention among
            them.
        bits: of an integer, 8 or 4; or a float of 8 bits, ``"e4m3"`` or ``"e5m2"``, $w ≈ s q$ by the largest of them,
            which keeps more digits of what is small. Weights alone: they are made floats of 32 bits in each call.
        where: which of these: a path or pattern, several, or a predicate (path, layer); None for all.
        skip: which of them are left as they are.
        group: how many of the numbers that an output sums over share a scale; None for all. The last may have fewer.
        symmetric: whether 0 stands for 0.
        per: ``"channel"``, a scale for each output (each index of an Embedding), or ``"tensor"``, one for the weight.
        inputs: None leaves what comes into layers as it is; ``"dynamic"`` makes it int8 too, with a scale of each token
            (each image of a convolution), found in each call; what ``px.compress.calibrate`` gave makes it int8 with
            the range that was measured. Then products are of integers, summed in 32 bits. An Embedding and a
            ConvTranspose take theirs as before.
        factors: what ``px.compress.smooth`` or ``px.compress.awq`` gave: features that come into a Dense are multiplied
            with them, and its integers are of the weight divided by them.

    Raises:
        RangeError: an option outside its range, a choice that means no such layer; a group, or a zero elsewhere than
            at 0, with integer products.
        StructureError: a weight that is tied, computed or not finite; a model without such layers; a layer whose
            inputs were not measured, or that stands for several, stacked.

    Source: Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
    inference", 2018; Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018;
    Micikevicius et al., "FP8 formats for deep learning", 2022.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense.of(jnp.array([[127.0], [-63.4]])), px.relu)
    >>> small = px.compress.quantize(model)
    >>> small[0].codes.tolist(), small[0].weight.tolist()
    ([[127], [-63]], [[127.0], [-63.0]])
    """
    scheme = Scheme(bits, group, symmetric, per, _WHERE, floats=True)
    check_model(model, _WHERE)
    _check_inputs(inputs, scheme)
    model = copy(model)
    found = quantizable(model, where, skip, _WHERE)
    of = {} if factors is None else factors.factors
    fresh = {id(layer): _integer(path, layer, scheme, inputs, of.get(path)) for path, layer in found.items()}
    return replaced(model, fresh, _WHERE)


def _check_inputs(inputs: Any, scheme: Scheme) -> None:
    if inputs is None:
        return
    if inputs != "dynamic" and not isinstance(inputs, Ranges):
        fix = "for static scales pass what px.compress.calibrate(model, data) gives"
        raise scheme.refusal('inputs of None, "dynamic" or measured ranges', inputs, fix)
    scheme.check_products()


def _integer(path: str, layer: Any, scheme: Scheme, inputs: str | Ranges | None, factors: Any) -> Quantized:
    """A layer with integers in the place of its weight."""
    kind = plain_class(type(layer))
    empty: Any = INTEGER[kind].__new__(INTEGER[kind])
    if inputs is None or kind not in PRODUCTS:
        return empty.hold(layer, scheme, factors=factors)
    if layer.weight.ndim != rank_of(layer):
        got, fix = f"weights {describe(layer.weight)}, of several layers, stacked", f'skip="{path}"'
        raise StructureError(f"{path} as one layer, for integer products", got=got, fix=fix, where=_WHERE)
    if isinstance(inputs, str):
        return empty.hold(layer, scheme, inputs="dynamic", factors=factors)
    if path not in inputs.ranges:
        got, fix = "none", f'calibrate it too, or leave it out: skip="{path}"'
        raise StructureError(f"a range of what comes into {path}", got=got, fix=fix, where=_WHERE)
    low, high = (jnp.asarray(end, jnp.float32) for end in inputs.ranges[path])
    return empty.hold(layer, scheme, inputs="static", entry=grid(low, high, INPUT), factors=factors)


def dequantize(model: M) -> M:
    """A copy of a model whose weights are floats again: those that its integers stand for, with which it computes.

    For what takes plain layers alone, such as ``px.models.save`` and training all weights.

    Arguments:
        model: any model.

    >>> import phlox as px
    >>> model = px.compress.quantize(px.Chain(px.Dense(3, 2)))
    >>> type(px.compress.dequantize(model)[0]).__name__
    'Dense'
    """
    where = "px.compress.dequantize"
    check_model(model, where)
    model = copy(model)
    held = {id(layer): layer.plain() for layer in modules(model).values() if isinstance(layer, Quantized)}
    return replaced(model, held, where)
