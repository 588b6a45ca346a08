"""Sizes that layers know of beside their arrays, read anew from these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from phlox.core import Module, modules
from phlox.nn import (
    BatchNorm,
    Bilinear,
    Conv,
    ConvTranspose,
    Dense,
    DepthwiseConv,
    Embedding,
    EmbeddingBag,
    GatedMLP,
    GroupNorm,
    InstanceNorm,
    MultiHeadAttention,
    PReLU,
    RelativePositionBias,
)


def adapt_sizes(model: Module) -> None:
    """Let every layer of a model know the sizes of its arrays as they are now, from the innermost out."""
    for layer in reversed(list(modules(model).values())):
        reader = next((_READERS[kind] for kind in type(layer).__mro__ if kind in _READERS), None)
        if reader is not None:
            for name, size in reader(layer).items():
                if getattr(layer, name) != size:
                    setattr(layer, name, size)


def _dense(layer: Any) -> dict[str, int]:
    return {"in_size": layer.weight.shape[-2], "out_size": layer.weight.shape[-1]}


def _bilinear(layer: Any) -> dict[str, int]:
    return dict(zip(("in1_size", "in2_size", "out_size"), layer.weight.shape[-3:], strict=True))


def _conv(layer: Any) -> dict[str, int]:
    """A group goes with all its channels, so that as many as before are in each that stays."""
    *_, ins, outs = layer.weight.shape
    groups = 1 if layer.groups == 1 else outs // (layer.out_channels // layer.groups)
    return {"in_channels": ins * groups, "out_channels": outs, "groups": groups}


def _conv_transpose(layer: Any) -> dict[str, int]:
    *_, ins, outs = layer.weight.shape
    groups = 1 if layer.groups == 1 else ins // (layer.in_channels // layer.groups)
    return {"in_channels": ins, "out_channels": outs * groups, "groups": groups}


def _depthwise(layer: Any) -> dict[str, int]:
    return {"channels": layer.weight.shape[-1] // layer.multiplier}


def _table(layer: Any) -> dict[str, int]:
    return {"num": layer.weight.shape[-2], "dim": layer.weight.shape[-1]}


def _batch_norm(layer: Any) -> dict[str, int]:
    held = next((array for array in (layer.scale, layer.bias, layer.mean) if array is not None), None)
    return {} if held is None else {"channels": held.shape[-1]}


def _group_norm(layer: Any) -> dict[str, int]:
    """A group goes with all its channels."""
    channels = layer.channels if layer.scale is None else layer.scale.shape[-1]
    return {"channels": channels, "groups": channels // (layer.channels // layer.groups)}


def _instance_norm(layer: Any) -> dict[str, int]:
    return {} if layer.scale is None else {"channels": layer.scale.shape[-1]}


def _attention(layer: Any) -> dict[str, int]:
    """A head keeps its features."""
    return {
        "dim": layer.q_proj.in_size, "key_dim": layer.k_proj.in_size, "value_dim": layer.v_proj.in_size,
        "heads": layer.q_proj.out_size // layer.head_dim, "kv_heads": layer.k_proj.out_size // layer.head_dim,
    }  # fmt: skip


def _gated(layer: Any) -> dict[str, int]:
    return {"dim": layer.gate.in_size, "hidden": layer.gate.out_size}


_READERS: dict[type, Callable[[Any], dict[str, int]]] = {
    Dense: _dense, Bilinear: _bilinear, Conv: _conv, ConvTranspose: _conv_transpose, DepthwiseConv: _depthwise,
    Embedding: _table, EmbeddingBag: _table, BatchNorm: _batch_norm, GroupNorm: _group_norm,
    InstanceNorm: _instance_norm, MultiHeadAttention: _attention, GatedMLP: _gated,
    PReLU: lambda layer: {"channels": layer.slope.shape[-1]},
    RelativePositionBias: lambda layer: {"heads": layer.weight.shape[-1]},
}  # fmt: skip
