"""px.compress.prepare and convert: training with rounded weights, and the integers in the end."""

from __future__ import annotations

from typing import Any, TypeVar

from phlox.compress._integers import grid
from phlox.compress._layers import INTEGER, PRODUCTS, check_model, quantizable
from phlox.compress._scheme import Scheme
from phlox.compress.layers._products import INPUT
from phlox.compress.layers._rounded import (
    Rounded,
    RoundedConv,
    RoundedConvTranspose,
    RoundedDense,
    RoundedDepthwiseConv,
    RoundedEmbedding,
)
from phlox.core import Module, StructureError, Where, answering, copy, modules, plain_class, replaced

M = TypeVar("M", bound=Module)
_PREPARE, _CONVERT = "px.compress.prepare", "px.compress.convert"
_ROUNDED: dict[type, type[Rounded]] = {
    one.kind: one for one in (RoundedDense, RoundedEmbedding, RoundedConv, RoundedDepthwiseConv, RoundedConvTranspose)
}


@answering
def prepare(
    model: M,
    bits: int = 8,
    *,
    where: Where | None = None,
    skip: Where | None = None,
    group: int | None = None,
    symmetric: bool = True,
    per: str = "channel",
    inputs: str | None = None,
) -> M:
    """A copy of a model that trains with the integers of its weights, so that it learns to live with them.

    Forward passes compute with the nearest integers; gradients pass through the rounding as if it were not there, and
    move floats under the paths that the weights had. ``px.compress.convert`` makes integers of them in the end. Fold
    the norms behind layers first, with ``px.fold_batch_norm``, where they shall be gone in the end.

    Arguments:
        model, bits, where, skip, group, symmetric, per: as of ``px.compress.quantize``.
        inputs: None leaves what comes into layers as it is; ``"dynamic"`` rounds it with a scale of each token or
            image; ``"static"`` with one range, which is a mean of those seen in training, the last weighing a
            hundredth. An Embedding and a ConvTranspose take theirs as it is.

    Raises:
        RangeError, StructureError: as ``px.compress.quantize``.

    Source: Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
    inference", 2018; Bengio, Léonard and Courville, "Estimating or propagating gradients through stochastic neurons
    for conditional computation", 2013.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.compress.prepare(px.Chain(px.Dense.of(jnp.array([[127.0], [-63.4]]))))
    >>> model[0].weight.tolist()
    [[127.0], [-63.0]]
    >>> px.paths(px.grad(lambda m: m(jnp.ones(2)).sum())(model))["layers.0.weight"].tolist()
    [[1.0], [1.0]]
    """
    scheme = Scheme(bits, group, symmetric, per, _PREPARE)
    if inputs not in (None, "dynamic", "static"):
        fix = "leave it out for weights alone"
        raise scheme.refusal('inputs of None, "dynamic" or "static"', inputs, fix)
    if inputs is not None:
        scheme.check_products()
    check_model(model, _PREPARE)
    model = copy(model)
    found = quantizable(model, where, skip, _PREPARE)
    return replaced(model, {id(layer): _prepared(layer, scheme, inputs) for layer in found.values()}, _PREPARE)


def _prepared(layer: Module, scheme: Scheme, inputs: str | None) -> Rounded:
    kind = plain_class(type(layer))
    return _ROUNDED[kind].__new__(_ROUNDED[kind]).hold(layer, scheme, inputs if kind in PRODUCTS else None)


def convert(model: M) -> M:
    """A copy of a model that was prepared, with the integers that it computed with.

    Arguments:
        model: what ``px.compress.prepare`` gave, trained.

    Raises:
        StructureError: no layer was prepared; one that was to have a measured range and never saw data in training.

    >>> import phlox as px
    >>> px.compress.convert(px.compress.prepare(px.Chain(px.Dense(3, 2)), 4))[0].bits
    4
    """
    check_model(model, _CONVERT)
    model = copy(model)
    found = {path: layer for path, layer in modules(model).items() if isinstance(layer, Rounded)}
    if not found:
        fix = "call px.compress.prepare(model) and train it; px.compress.quantize(model) goes without training"
        raise StructureError("a prepared model", got=model._brief(), fix=fix, where=_CONVERT)
    return replaced(model, {id(layer): _converted(path, layer) for path, layer in found.items()}, _CONVERT)


def _converted(path: str, layer: Rounded) -> Any:
    cls = INTEGER[layer.kind]
    empty: Any = cls.__new__(cls)
    if layer.inputs != "static":
        return empty.hold(layer.plain(), layer.scheme, inputs=layer.inputs)
    low, high = layer.input_low, layer.input_high
    assert low is not None
    assert high is not None
    if not bool(low < high):
        got, fix = f"{float(low):g} to {float(high):g}", "train the model before, so that data comes in"
        raise StructureError(f"a range of what comes into {path}", got=got, fix=fix, where=_CONVERT)
    return empty.hold(layer.plain(), layer.scheme, inputs="static", entry=grid(low, high, INPUT))
