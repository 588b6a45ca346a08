"""Batch normalisation folded into the layer before it, for models that only infer."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from phlox.core import Module, StructureError, at, copy, describe, modules, set_at
from phlox.nn import functional as F
from phlox.nn.containers._containers import Chain
from phlox.nn.features._dense import Dense
from phlox.nn.functional._numeric import on_host
from phlox.nn.normalisation._norm import BatchNorm
from phlox.nn.space._conv import Conv
from phlox.nn.space._conv_transpose import ConvTranspose, DepthwiseConv

M = TypeVar("M", bound=Module)
_LAYERS = (Conv, ConvTranspose, DepthwiseConv, Dense)
_WHERE = "px.fold_batch_norm"


def fold_batch_norm(model: M, *pairs: tuple[str, str]) -> M:
    r"""A copy of a model for inference, in which layers do the work of the batch normalisation behind them.

    $W' = s W$ and $b' = β + s (b - μ)$ with $s = γ / \sqrt{v + ε}$ for each channel. The layer takes the activation of
    the norm, and ``px.identity`` stands in the norm's place, so that all paths stay. Neighbours in a ``px.Chain``, a
    ``Conv``, ``ConvTranspose``, ``DepthwiseConv`` or ``Dense`` with a ``BatchNorm`` behind it, are folded where that
    keeps the numbers; other pairs are named.

    Arguments:
        model: a model that holds such layers.
        pairs: paths of a layer and of the norm that is given its output and nothing else, ``("conv1", "norm1")``.

    Raises:
        StructureError: a named pair that cannot be folded: other layers, a layer with an activation of its own, a norm
            that trains or keeps no statistics, a part that is used in another place too.

    Source: Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
    inference", 2018, section 3.2.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense(4, 3), px.BatchNorm(3, px.relu))
    >>> folded = px.fold_batch_norm(model)
    >>> folded.layers[1].__name__, bool(jnp.allclose(folded(jnp.ones((2, 4))), model(jnp.ones((2, 4)))))
    ('identity', True)
    """
    model = copy(model)
    uses = _uses(model)
    for layer, norm in pairs:
        refusal = _refusal(at(model, layer), at(model, norm), uses)
        if refusal is not None:
            expected, got, fix = refusal
            raise StructureError(expected, got=got, fix=fix, where=f"{_WHERE}, {layer!r} and {norm!r}")
        set_at(model, norm, _folded(at(model, layer), at(model, norm)))
    for chain in [m for m in modules(model).values() if isinstance(m, Chain)]:
        layers: Any = chain.layers
        keys = list(layers) if isinstance(layers, dict) else range(len(layers))
        for before, here in pairwise(keys):
            if isinstance(layers[here], BatchNorm) and _refusal(layers[before], layers[here], uses) is None:
                layers[here] = _folded(layers[before], layers[here])
    return model


def foldable(model: Module) -> list[tuple[str, str]]:
    """Paths of layers and of the norms behind them, as classes tell them by ``folds``, that can be folded."""
    uses = _uses(model)
    found = []
    for path, part in modules(model).items():
        for layer, norm in getattr(type(part), "folds", ()):
            if _refusal(getattr(part, layer), getattr(part, norm), uses) is None:
                found.append((f"{path}.{layer}".lstrip("."), f"{path}.{norm}".lstrip(".")))
    return found


def _uses(model: Module) -> Counter[int]:
    """How many places of a model hold each layer or norm."""
    parts = jax.tree_util.tree_leaves(model, is_leaf=lambda v: isinstance(v, (*_LAYERS, BatchNorm)))
    return Counter(id(part) for part in parts)


def _refusal(layer: Any, norm: Any, uses: Counter[int]) -> tuple[str, str, str] | None:
    """Why a pair cannot be folded, as expected, got and fix; None where it can."""
    names = ", ".join(kind.__name__ for kind in _LAYERS)
    if not isinstance(layer, _LAYERS):
        return (
            f"one of {names}, and a BatchNorm",
            f"{describe(layer)} before the norm",
            "name the layer before the norm",
        )
    if not isinstance(norm, BatchNorm):
        return f"one of {names}, and a BatchNorm", f"{describe(norm)} as the norm", "name the norm second"
    held = vars(layer).get("weight")
    if held is None:
        return "a layer that holds its weight", layer._brief(), "fold before the weights become integers"
    if norm.channels != getattr(layer, "out_channels", layer.weight.shape[-1]):
        return "a norm of the channels that the layer makes", norm._brief(), "name the norm that follows the layer"
    if layer.act is not F.identity:
        return "a layer without an activation", layer._brief(), "only an activation behind the norm can stay"
    if norm.mean is None or norm.training:
        got = "one without statistics" if norm.mean is None else "one that trains"
        return "a norm with running statistics, in inference", got, "px.testmode(model), or leave the pair out"
    tied = not isinstance(held, jax.Array)
    if tied or uses[id(layer)] > 1 or uses[id(norm)] > 1:
        return "a layer and a norm that are used in one place", "one that is shared", "leave the pair out"
    return None


def _folded(layer: Any, norm: BatchNorm) -> Any:
    """Let a layer do a norm's work; returns what stands in the norm's place."""
    weight, given, scale, bias, mean, var = map(
        on_host, (layer.weight, layer.bias, norm.scale, norm.bias, norm.mean, norm.var)
    )
    wide = jnp.promote_types(weight.dtype, jnp.float32)
    factor = 1 / (var.astype(wide) + wide.type(norm.eps)) ** 0.5
    factor = factor if scale is None else factor * scale.astype(wide)
    shift = -mean.astype(wide) if given is None else given.astype(wide) - mean.astype(wide)
    shift = shift * factor if bias is None else shift * factor + bias.astype(wide)
    dtype, by_weight = weight.dtype, _by_weight(layer, factor)
    layer.weight, layer.bias = (weight * by_weight).astype(dtype), shift.astype(dtype)
    layer.act = norm.act
    return F.identity


def _by_weight(layer: Any, factor: Any) -> Any:
    """One factor for each output channel, along the axes of the weight that tell the channel."""
    if not isinstance(layer, ConvTranspose):
        return factor
    blocks = factor.reshape(layer.groups, -1)  # its weight is (*kernel, in, out / groups)
    return blocks.__array_namespace__().repeat(blocks, layer.in_channels // layer.groups, axis=0)
