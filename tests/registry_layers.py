"""More rows of the registry (``registry.py`` appends them): the layers beyond the first ones."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

import phlox as px
from phlox import nn
from registry import Case, Wrong, channels_first, channels_last, keys, normal

X = normal(4, 6)
IMAGE = normal(2, 6, 5, 4)
SERIES = normal(2, 9, 4)
VOLUME = normal(2, 3, 4, 3, 2)
INDICES = np.array([[1, 5, 0], [2, 2, 6]], np.int32)
Twin = Callable[[Any, Mapping[str, Any], Any, bool], Any]


# --- twins in PyTorch ------------------------------------------------------------------------------


def on_channels_first(f: Callable[..., Any]) -> Twin:
    """A function of ``(torch, p, x)`` with channels first, as one with channels last."""
    return lambda torch, p, x, train: channels_last(f(torch, p, channels_first(x)))


def group_norm_twin(torch: Any, p: Mapping[str, Any], x: Any) -> Any:
    return torch.nn.functional.group_norm(x, 2, p["scale"], p["bias"])


def instance_norm_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    y = torch.nn.functional.instance_norm(
        channels_first(x), p["mean"].clone(), p["var"].clone(), p.get("scale"), p.get("bias"), use_input_stats=train
    )
    return channels_last(y)


def transpose_twin(**options: Any) -> Twin:
    def twin(torch: Any, p: Mapping[str, Any], x: Any) -> Any:
        rank = p["weight"].ndim - 2
        f = getattr(torch.nn.functional, f"conv_transpose{rank}d")
        return f(x, p["weight"].permute(rank, rank + 1, *range(rank)), p.get("bias"), **options)

    return on_channels_first(twin)


def depthwise_twin(torch: Any, p: Mapping[str, Any], x: Any) -> Any:
    weight = p["weight"].permute(3, 2, 0, 1)
    return torch.relu(torch.nn.functional.conv2d(x, weight, p["bias"], stride=2, padding=1, groups=x.shape[1]))


def weight_normed(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    v = p["layer.weight"]
    return x @ (p["size"] * v / torch.linalg.vector_norm(v, dim=0)) + p["layer.bias"]


def swish_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    return x * torch.sigmoid(p["beta"] * x)


def bilinear_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    return torch.nn.functional.bilinear(x, x, p["weight"].permute(2, 0, 1), p["bias"])


def bag_twin(mode: str, padding: int | None = None) -> Twin:
    return lambda torch, p, x, train: torch.nn.functional.embedding_bag(x, p["weight"], mode=mode, padding_idx=padding)


def repeated_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    for weight, bias in zip(p["block.weight"], p["block.bias"], strict=True):
        x = torch.tanh(x @ weight + bias)
    return x


def injected_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    first = x
    for _ in range(3):
        x = torch.nn.functional.bilinear(x, first, p["block.weight"].permute(2, 0, 1), p["block.bias"])
    return x


def maxout_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    parts = [x @ p[f"layers.{i}.weight"] + p[f"layers.{i}.bias"] for i in range(3)]
    return torch.stack(parts).amax(0)


def fusion_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    one = x @ p["layers.0.layers.first.weight"]
    return one + (one * x) @ p["layers.0.layers.second.weight"]


def unfold_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    patches = torch.nn.functional.unfold(channels_first(x), (2, 3), stride=(2, 1), padding=(1, 0))
    b, _, n = patches.shape  # channel, then offset: ours is offset, then channel
    return patches.reshape(b, x.shape[-1], 6, n).permute(0, 3, 2, 1).reshape(b, n, -1)


def fold_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    b, n, _ = x.shape
    patches = x.reshape(b, n, 6, 4).permute(0, 3, 2, 1).reshape(b, 24, n)
    return channels_last(torch.nn.functional.fold(patches, (6, 5), (2, 3), stride=(2, 1)))


def pad_twin(mode: str, *amounts: int) -> Twin:
    """``torch.nn.functional.pad``; amounts from the last spatial axis on, as there."""
    return on_channels_first(lambda torch, p, x: torch.nn.functional.pad(x, amounts, mode=mode))


def resize_twin(**options: Any) -> Twin:
    return on_channels_first(lambda torch, p, x: torch.nn.functional.interpolate(x, **options))


def functional_twin(name: str, *args: Any, **options: Any) -> Twin:
    return on_channels_first(lambda torch, p, x: getattr(torch.nn.functional, name)(x, *args, **options))


def shuffle_twin(torch: Any, p: Mapping[str, Any], x: Any) -> Any:
    return torch.nn.functional.pixel_shuffle(x, 2)


# --- functions in rows (named, so that models pickle) ------------------------------------------------


def scaled(self: Any, x: Any) -> Any:
    return self.scale * jnp.tanh(self.inner(x))


def scaled_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    return p["scale"] * torch.tanh(x @ p["inner.weight"] + p["inner.bias"])


def total(*ys: Any) -> Any:
    return sum(ys[1:], ys[0])


def joined(*ys: Any) -> Any:
    return jnp.concatenate(ys, -1)


def _fusion(key: Any) -> px.Module:
    one, two = keys(key)
    first = px.Dense(6, 6, bias=False, key=one)
    fusion = nn.PairwiseFusion(operator.mul, first=first, second=px.Dense(6, 6, bias=False, key=two))
    return px.Chain(fusion, total)


def _pad_cases() -> list[Case]:
    rows = [
        ("ZeroPad", nn.ZeroPad(((1, 2), (0, 1))), "ZeroPad(((1, 2), (0, 1)))", pad_twin("constant", 0, 1, 1, 2)),
        ("ReflectPad", nn.ReflectPad(2), "ReflectPad(2)", pad_twin("reflect", 2, 2, 2, 2)),
        ("ReplicatePad", nn.ReplicatePad((1, 3)), "ReplicatePad((1, 3))", pad_twin("replicate", 3, 3, 1, 1)),
        ("CircularPad", nn.CircularPad(((2, 1), (0, 3))), "CircularPad(", pad_twin("circular", 0, 3, 2, 1)),
    ]
    return [
        Case(name, lambda key, layer=layer: px.copy(layer), (IMAGE,), form, twin) for name, layer, form, twin in rows
    ]


LAYERS: list[Case] = [
    # normalisation
    Case(
        "GroupNorm",
        lambda key: nn.GroupNorm(4, 2),
        (IMAGE,),
        "GroupNorm(4, 2)",
        on_channels_first(group_norm_twin),
        wrong=Wrong((normal(2, 6, 5, 3),), " GroupNorm(4, 2) expects (batch, ..., 4), got float32[2, 6, 5, 3]"),
    ),
    Case(
        "InstanceNorm",
        lambda key: nn.InstanceNorm(4, px.relu, affine=True),
        (IMAGE,),
        "InstanceNorm(4, relu, affine=True)",
        on_channels_first(
            lambda torch, p, x: torch.relu(torch.nn.functional.instance_norm(x, weight=p["scale"], bias=p["bias"]))
        ),
        wrong=Wrong((X,), " InstanceNorm(4, relu) expects (batch, *space, 4), got float32[4, 6]"),
    ),
    Case(
        "InstanceNorm-track",
        lambda key: nn.InstanceNorm(4, affine=True, track=True),
        (SERIES,),
        "InstanceNorm(4, affine=True, track=True)",
        instance_norm_twin,
        moves=True,
    ),
    Case(
        "RMSNorm",
        lambda key: nn.RMSNorm((5, 4), eps=1e-3),
        (IMAGE,),
        "RMSNorm((5, 4), eps=0.001)",
        lambda torch, p, x, train: torch.nn.functional.rms_norm(x, (5, 4), p["scale"], eps=1e-3),
        leading=True,
        wrong=Wrong((X,), " RMSNorm(5, 4) expects (..., 5, 4), got float32[4, 6]"),
    ),
    Case(
        "LocalResponseNorm",
        lambda key: nn.LocalResponseNorm(3, alpha=0.5, beta=0.6, k=2.0),
        (IMAGE,),
        "LocalResponseNorm(3, alpha=0.5, beta=0.6, k=2.0)",
        functional_twin("local_response_norm", 3, alpha=0.5, beta=0.6, k=2.0),
        leading=True,
    ),
    Case(
        "WeightNorm",
        lambda key: nn.WeightNorm(px.Dense(6, 3, key=key)),
        (X,),
        ("WeightNorm(", "layer=Dense(6, 3)"),
        weight_normed,
        leading=True,
        wrong=Wrong((normal(4, 5),), ".layer Dense(6 → 3) expects (..., 6), got float32[4, 5]"),
    ),
    # dropouts
    Case(
        "AlphaDropout", lambda key: nn.AlphaDropout(0.3, key=key), (X,), "AlphaDropout(0.3)", leading=True, draws=True
    ),
    Case(
        "FeatureAlphaDropout",
        lambda key: nn.FeatureAlphaDropout(0.4, key=key),
        (IMAGE,),
        "FeatureAlphaDropout(0.4)",
        draws=True,
        wrong=Wrong((X[0],), " FeatureAlphaDropout(0.4) expects (batch, ..., channels), got float32[6]"),
    ),
    Case("DropPath", lambda key: nn.DropPath(0.5, key=key), (normal(16, 2),), "DropPath(0.5)", draws=True),
    Case(
        "VariationalDropout",
        lambda key: nn.VariationalDropout(0.4, key=key),
        (SERIES,),
        "VariationalDropout(0.4)",
        draws=True,
        wrong=Wrong((X[0],), " VariationalDropout(0.4) expects an input with axis 1, got float32[6]"),
    ),
    # containers
    Case(
        "RepeatedLayer",
        lambda key: nn.RepeatedLayer(lambda: px.Dense(6, 6, px.tanh), 3, key=key),
        (X,),
        ("RepeatedLayer(", "repeats=3", "block=Dense(6, 6, tanh)"),
        repeated_twin,
        leading=True,
    ),
    Case(
        "RepeatedLayer-share",
        lambda key: nn.RepeatedLayer(lambda: nn.Bilinear(6, 6, 6), 3, share=True, inject=True, remat=True, key=key),
        (X,),
        ("RepeatedLayer(", "inject=True", "share=True", "remat=True"),
        injected_twin,
    ),
    Case(
        "RepeatedLayer-state",
        lambda key: nn.RepeatedLayer(
            lambda: px.Chain(px.Dense(6, 6), px.BatchNorm(6, px.tanh), px.Dropout(0.2)), 3, remat=True, key=key
        ),
        (X,),
        ("RepeatedLayer(", "BatchNorm(6, tanh)"),
        draws=True,
        moves=True,
    ),
    Case(
        "compact",
        lambda key: nn.compact(scaled, inner=px.Dense(6, 3, key=key), scale=jnp.ones(3)),
        (X,),
        ("Compact(", "forward=scaled", "Dense(6, 3)"),
        scaled_twin,
        leading=True,
    ),
    Case(
        "Maxout",
        lambda key: nn.Maxout(*[px.Dense(6, 2, key=k) for k in keys(key, 3)]),
        (X,),
        ("Maxout(", "3 × Dense(6, 2)"),
        maxout_twin,
        leading=True,
    ),
    Case(
        "PairwiseFusion", _fusion, (X,), ("PairwiseFusion(", "connection=mul", "first=Dense"), fusion_twin, leading=True
    ),
    Case(
        "Branch",
        lambda key: px.Chain(nn.Branch(px.Dense(6, 2, key=key), px.tanh), joined),
        (X,),
        ("Branch(", "Dense(6, 2)", "tanh"),
        lambda torch, p, x, train: torch.cat(
            [x @ p["layers.0.layers.0.weight"] + p["layers.0.layers.0.bias"], torch.tanh(x)], -1
        ),
        leading=True,
    ),
    # products, embeddings, activations
    Case(
        "Bilinear",
        lambda key: nn.Bilinear(6, 6, 3, key=key),
        (X,),
        "Bilinear(6, 6, 3)",
        bilinear_twin,
        leading=True,
        wrong=Wrong((normal(4, 5),), " Bilinear(6 × 6 → 3) expects a first input (..., 6), got float32[4, 5]"),
    ),
    Case(
        "Scale",
        lambda key: nn.Scale((5, 4), px.tanh),
        (IMAGE,),
        "Scale((5, 4), tanh)",
        lambda torch, p, x, train: torch.tanh(x * p["scale"] + p["bias"]),
        leading=True,
        wrong=Wrong((X,), " Scale(5, 4, tanh) expects (..., 5, 4), got float32[4, 6]"),
    ),
    Case("EmbeddingBag", lambda key: nn.EmbeddingBag(7, 3, key=key), (INDICES,), "EmbeddingBag(7, 3", bag_twin("mean")),
    Case(
        "EmbeddingBag-max",
        lambda key: nn.EmbeddingBag(7, 3, mode="max", key=key),
        (INDICES,),
        "mode='max'",
        bag_twin("max"),
    ),
    Case(
        "EmbeddingBag-padding",
        lambda key: nn.EmbeddingBag(7, 3, mode="sum", padding_idx=5, key=key),
        (INDICES,),
        "padding_idx=5",
        bag_twin("sum", 5),
    ),
    Case(
        "PReLU",
        lambda key: nn.PReLU(4),
        (IMAGE,),
        "PReLU(4)",
        on_channels_first(lambda torch, p, x: torch.nn.functional.prelu(x, p["slope"])),
        leading=True,
        wrong=Wrong((X,), " PReLU(4) expects (..., 4), got float32[4, 6]"),
    ),
    Case("Swish", lambda key: nn.Swish(), (X,), "Swish()", swish_twin, leading=True),
    Case("RReLU", lambda key: nn.RReLU(0.1, 0.6, key=key), (X,), "RReLU(0.1, 0.6)", leading=True, draws=True),
    # convolutions
    Case(
        "ConvTranspose1d",
        lambda key: nn.ConvTranspose(3, 4, 6, stride=3, padding=1, output_padding=2, groups=2, key=key),
        (SERIES,),
        "ConvTranspose(3, 4, 6",
        transpose_twin(stride=3, padding=1, output_padding=2, groups=2),
        wrong=Wrong((normal(2, 9, 3),), " ConvTranspose((3,), 4 → 6) expects (batch, time, 4), got float32[2, 9, 3]"),
    ),
    Case(
        "ConvTranspose2d",
        lambda key: nn.ConvTranspose((3, 2), 4, 3, stride=2, dilation=(2, 1), key=key),
        (IMAGE,),
        "ConvTranspose((3, 2), 4, 3",
        transpose_twin(stride=2, dilation=(2, 1)),
    ),
    Case(
        "ConvTranspose3d",
        lambda key: nn.ConvTranspose((2, 2, 2), 2, 3, stride=2, bias=False, key=key),
        (VOLUME,),
        "bias=False",
        transpose_twin(stride=2),
    ),
    Case(
        "DepthwiseConv",
        lambda key: nn.DepthwiseConv((3, 3), 4, 2, px.relu, stride=2, padding=1, key=key),
        (IMAGE,),
        "DepthwiseConv((3, 3), 4, 2, relu",
        on_channels_first(depthwise_twin),
        wrong=Wrong(
            (IMAGE[0],), " DepthwiseConv((3, 3), 4 → 8, relu) expects (batch, height, width, 4), got float32[6, 5, 4]"
        ),
    ),
    # pools
    Case(
        "LpPool",
        lambda key: nn.LpPool(2, (2, 3), stride=2),
        (IMAGE,),
        "LpPool(2.0, (2, 3), stride=(2, 2))",
        functional_twin("lp_pool2d", 2.0, (2, 3), stride=2),
        wrong=Wrong((X,), " LpPool(2, (2, 3)) expects (batch, height, width, channels), got float32[4, 6]"),
    ),
    Case(
        "MaxPool-ceil",
        lambda key: px.MaxPool((2, 2), ceil=True),
        (IMAGE,),
        "ceil=True",
        functional_twin("max_pool2d", 2, ceil_mode=True),
    ),
    Case(
        "MeanPool-inside",
        lambda key: px.MeanPool((3, 3), stride=2, padding=1, ceil=True, count_padding=False),
        (IMAGE,),
        "count_padding=False",
        functional_twin("avg_pool2d", 3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
    ),
    Case(
        "AdaptiveMaxPool",
        lambda key: nn.AdaptiveMaxPool((4, 2)),
        (IMAGE,),
        "AdaptiveMaxPool((4, 2))",
        functional_twin("adaptive_max_pool2d", (4, 2)),
    ),
    Case(
        "AdaptiveMeanPool",
        lambda key: nn.AdaptiveMeanPool((4, 2)),
        (IMAGE,),
        "AdaptiveMeanPool((4, 2))",
        functional_twin("adaptive_avg_pool2d", (4, 2)),
        wrong=Wrong(
            (SERIES,), " AdaptiveMeanPool((4, 2)) expects (batch, height, width, channels), got float32[2, 9, 4]"
        ),
    ),
    Case(
        "GlobalMaxPool",
        lambda key: nn.GlobalMaxPool(),
        (IMAGE,),
        "GlobalMaxPool()",
        lambda torch, p, x, train: x.amax((1, 2), keepdim=True),
        wrong=Wrong((X,), " GlobalMaxPool() expects (batch, *space, channels), got float32[4, 6]"),
    ),
    # space
    Case(
        "Upsample-nearest", lambda key: nn.Upsample(scale=2), (IMAGE,), "Upsample(scale=2)", resize_twin(scale_factor=2)
    ),
    Case(
        "Upsample-bilinear",
        lambda key: nn.Upsample("bilinear", size=(9, 4), align_corners=True),
        (IMAGE,),
        "Upsample('bilinear', size=(9, 4), align_corners=True)",
        resize_twin(size=(9, 4), mode="bilinear", align_corners=True),
        wrong=Wrong((SERIES,), " Upsample('bilinear', size=(9, 4)) expects 2 spatial axes"),
    ),
    Case(
        "Upsample-bicubic",
        lambda key: nn.Upsample("bicubic", scale=(1.5, 2.0)),
        (IMAGE,),
        "Upsample('bicubic', scale=(1.5, 2.0))",
        resize_twin(scale_factor=(1.5, 2.0), mode="bicubic"),
    ),
    Case(
        "Upsample-trilinear",
        lambda key: nn.Upsample("trilinear", scale=2),
        (VOLUME,),
        "Upsample('trilinear', scale=2)",
        resize_twin(scale_factor=2, mode="trilinear"),
    ),
    Case(
        "Upsample-linear",
        lambda key: nn.Upsample("linear", size=13),
        (SERIES,),
        "size=13",
        resize_twin(size=13, mode="linear"),
    ),
    Case(
        "PixelShuffle",
        lambda key: nn.PixelShuffle(2),
        (IMAGE,),
        "PixelShuffle(2)",
        on_channels_first(shuffle_twin),
        wrong=Wrong((normal(2, 6, 5, 3),), " PixelShuffle(2) expects channels that are a multiple of 4"),
    ),
    Case(
        "PixelUnshuffle",
        lambda key: nn.PixelUnshuffle(2),
        (normal(2, 6, 4, 3),),
        "PixelUnshuffle(2)",
        functional_twin("pixel_unshuffle", 2),
        wrong=Wrong((IMAGE,), " PixelUnshuffle(2) expects spatial sizes that are multiples of factor (2, 2)"),
    ),
    Case(
        "Unfold",
        lambda key: nn.Unfold((2, 3), stride=(2, 1), padding=(1, 0)),
        (IMAGE,),
        "Unfold((2, 3), stride=(2, 1), padding=(1, 0))",
        unfold_twin,
    ),
    Case(
        "Fold",
        lambda key: nn.Fold((6, 5), (2, 3), stride=(2, 1)),
        (normal(2, 9, 24),),
        "Fold((6, 5), (2, 3)",
        fold_twin,
        wrong=Wrong((normal(2, 8, 24),), " Fold((6, 5), (2, 3)) expects (batch, 9, 6·channels)"),
    ),
    *_pad_cases(),
    Case(
        "ConstantPad",
        lambda key: nn.ConstantPad((1, 0), 2.5),
        (IMAGE,),
        "ConstantPad((1, 0), 2.5)",
        on_channels_first(lambda torch, p, x: torch.nn.functional.pad(x, (0, 0, 1, 1), value=2.5)),
    ),
    Case(
        "SymmetricPad",
        lambda key: nn.SymmetricPad(2),
        (SERIES,),
        "SymmetricPad(2)",
        lambda torch, p, x, train: torch.cat([x[:, :2].flip(1), x, x[:, -2:].flip(1)], 1),
        wrong=Wrong((X,), " SymmetricPad(2) expects "),
    ),
    # rearrangements
    Case(
        "Reshape",
        lambda key: nn.Reshape((2, -1)),
        (X,),
        "Reshape((2, -1))",
        lambda torch, p, x, train: x.reshape(4, 2, 3),
        wrong=Wrong((normal(4, 5),), " Reshape((2, -1)) expects examples that make [2, -1], got float32[4, 5]"),
    ),
    Case("Flatten", lambda key: nn.Flatten(2), (IMAGE,), "Flatten(2)", lambda torch, p, x, train: x.flatten(2)),
    Case("SelectDim", lambda key: nn.SelectDim(1, -2), (IMAGE,), "SelectDim(1, -2)", lambda torch, p, x, t: x[:, -2]),
    Case(
        "ReverseSequence",
        lambda key: nn.ReverseSequence(),
        (SERIES,),
        "ReverseSequence()",
        lambda torch, p, x, train: x.flip(1),
        wrong=Wrong((X[0],), " ReverseSequence(1) expects an input with axis 1, got float32[6]"),
    ),
    Case(
        "WrappedFunction",
        lambda key: nn.WrappedFunction(px.gelu),
        (X,),
        "WrappedFunction(gelu)",
        lambda torch, p, x, train: torch.nn.functional.gelu(x),
        leading=True,
    ),
]
