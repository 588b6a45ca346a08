"""Which layers can have integers, and which of them are meant."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jax.numpy as jnp

from phlox.compress.layers._embedding import QuantizedEmbedding
from phlox.compress.layers._linear import (
    QuantizedConv,
    QuantizedConvTranspose,
    QuantizedDense,
    QuantizedDepthwiseConv,
)
from phlox.compress.layers._quantized import Quantized
from phlox.core import Module, StructureError, Where, chosen_paths, describe, modules, plain_class, ties_of
from phlox.nn import Conv, ConvTranspose, Dense, DepthwiseConv, Embedding, SpectralNorm, WeightNorm

INTEGER: dict[type, type[Quantized]] = {
    Dense: QuantizedDense, Embedding: QuantizedEmbedding, Conv: QuantizedConv, DepthwiseConv: QuantizedDepthwiseConv,
    ConvTranspose: QuantizedConvTranspose,
}  # fmt: skip
PRODUCTS = (Dense, Conv, DepthwiseConv)
"""Those that may take what comes in as integers too."""
WHAT = "Dense, Embedding or Conv"


def check_model(model: Any, where: str) -> None:
    """Refuse what is no model.

    Raises:
        StructureError: no Module.
    """
    if not isinstance(model, Module):
        raise StructureError("a model", got=describe(model), fix="pass a px.Module", where=where)


def quantizable(model: Module, choice: Where | None, skip: Where | None, where: str) -> dict[str, Any]:
    """The layers that are to have integers, by path: those that a choice means, but for those to be left.

    Raises:
        RangeError: a choice that means none.
        StructureError: a layer whose weight is tied or computed.
    """
    check_model(model, where)
    layers = modules(model)
    able = [path for path, layer in layers.items() if plain_class(type(layer)) in INTEGER]
    if not able:
        fix = "pass a model that has some, and that is not quantised yet"
        raise StructureError(f"a model with layers {WHAT} of floats", got=model._brief(), fix=fix, where=where)
    meant = able if choice is None else chosen_paths(choice, able, layers, WHAT, where)
    left = set() if skip is None else set(chosen_paths(skip, able, layers, WHAT, where, "skip"))
    found = {path: layers[path] for path in meant if path not in left}
    if not found:
        raise StructureError("a layer that skip= leaves", got="none", fix="skip fewer", where=where)
    computed = computed_layers(model)
    for path, layer in found.items():
        check_own(path, layer, "weight", computed, where)
    return found


def computed_layers(model: Module) -> set[int]:
    """The ids of layers whose weight is computed anew in every call."""
    return {id(m.layer) for m in modules(model).values() if isinstance(m, WeightNorm | SpectralNorm)}


def check_own(path: str, layer: Any, name: str, computed: Collection[int], where: str) -> None:
    """Refuse a layer whose weight is not its own, or is no number.

    Raises:
        StructureError: it is tied, computed or not finite.
    """
    if name in dict(ties_of(type(layer))):
        got, at = "one that px.tie tied to another", f"{path}.{name}".lstrip(".")
        fix = f'leave it out, skip="{path}", or give it one: px.untie(model, "{at}")'
    elif id(layer) in computed:
        got, fix = "one that is computed", "call px.nn.remove_weight_norm(model) first"
    elif not jnp.isfinite(getattr(layer, name)).all():
        got, fix = "NaN or infinite numbers", "train it anew from the last checkpoint that was finite"
    else:
        return
    raise StructureError(f"{path or 'the model'} to have a finite {name} of its own", got=got, fix=fix, where=where)
