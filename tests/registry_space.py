"""More rows of the registry (``registry.py`` appends them): convolutions, pools, resizing and rearrangement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import phlox as px
from phlox import nn
from registry import Case, Wrong, channels_first, channels_last, normal
from registry_layers import IMAGE, SERIES, Twin, X, functional_twin, on_channels_first

VOLUME = normal(2, 3, 4, 3, 2)


def transpose_twin(**options: Any) -> Twin:
    def twin(torch: Any, p: Mapping[str, Any], x: Any) -> Any:
        rank = p["weight"].ndim - 2
        f = getattr(torch.nn.functional, f"conv_transpose{rank}d")
        return f(x, p["weight"].permute(rank, rank + 1, *range(rank)), p.get("bias"), **options)

    return on_channels_first(twin)


def depthwise_twin(torch: Any, p: Mapping[str, Any], x: Any) -> Any:
    weight = p["weight"].permute(3, 2, 0, 1)
    return torch.relu(torch.nn.functional.conv2d(x, weight, p["bias"], stride=2, padding=1, groups=x.shape[1]))


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


def shuffle_twin(torch: Any, p: Mapping[str, Any], x: Any) -> Any:
    return torch.nn.functional.pixel_shuffle(x, 2)


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


SPACE: list[Case] = [
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
        lambda key: px.MaxPool((2, 2), ceil_mode=True),
        (IMAGE,),
        "ceil_mode=True",
        functional_twin("max_pool2d", 2, ceil_mode=True),
    ),
    Case(
        "MeanPool-inside",
        lambda key: px.MeanPool((3, 3), stride=2, padding=1, ceil_mode=True, count_include_pad=False),
        (IMAGE,),
        "count_include_pad=False",
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
