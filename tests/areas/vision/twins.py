"""Models of timm's and torchvision's beside ours: one config, two libraries, the same random weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import timm
import torch
import torchvision
from timm.layers import SwiGLUPacked
from timm.models.convnext import ConvNeXt
from timm.models.deit import VisionTransformerDistilled
from timm.models.resnet import Bottleneck as TimmBottleneck
from timm.models.resnet import ResNet as TimmResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torchvision.models.resnet import Bottleneck, ResNet

import phlox as px
from hub import BARS, agrees, first, images, in_dtype
from phlox.models._catalogue import FAMILIES, family_of
from phlox.models._family import Family

LIBRARIES: dict[str, tuple[Callable[[str], bool], Callable[..., torch.nn.Module]]] = {
    "timm": (timm.is_model, timm.create_model),
    "torchvision": (set(torchvision.models.list_models()).__contains__, torchvision.models.get_model),
}
"""Which names a library knows, and what builds a model by name."""


@dataclass(frozen=True)
class Twin:
    """One architecture, built there and described here."""

    library: str
    theirs: Callable[[], torch.nn.Module]
    config: px.models.Config
    size: tuple[int, int] = (64, 64)
    """(height, width) of the images that both are asked about."""
    head: bool = True
    """Whether they are asked for scores, or for features."""


def named(library: str, name: str, size: tuple[int, int] = (64, 64), **options: Any) -> Twin:
    """A published variant of 10 classes."""
    build = partial(LIBRARIES[library][1], name, num_classes=10, **options)
    return Twin(library, build, variant(name).with_classes(10), size)


def variant(name: str) -> px.models.Config:
    """The config of a published variant."""
    return next(family.variants[name] for family in FAMILIES if name in family.variants)


def resnet(library: str, groups: int = 1, width_per_group: int = 64) -> Twin:
    """Bottlenecks, of which the published ones have many more."""
    config = px.models.ResNetConfig(depths=(2, 1, 1, 1), groups=groups, width_per_group=width_per_group, classes=10)
    timm_s = partial(TimmResNet, TimmBottleneck, config.depths, 10, cardinality=groups, base_width=width_per_group)
    other = partial(ResNet, Bottleneck, config.depths, 10, groups=groups, width_per_group=width_per_group)
    return Twin(library, timm_s if library == "timm" else other, config)


def vit(patch: int = 8, **options: Any) -> dict[str, Any]:
    """What timm's vision transformers and ours call the same sizes."""
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3}
    config = {**sizes, "image_size": 8 * patch, "patch_size": patch, "layer_norm_eps": 1e-6, "classes": 10}
    there = {"img_size": 8 * patch, "patch_size": patch, "embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 10}
    return {"ours": config, "theirs": there | options}


def plain_vit() -> Twin:
    sizes = vit()
    return Twin(
        "timm",
        partial(VisionTransformer, **sizes["theirs"]),
        px.models.ViTConfig(**sizes["ours"], intermediate_size=192),
    )


def deit() -> Twin:
    sizes = vit()
    config = px.models.DeiTConfig(**sizes["ours"], intermediate_size=192)
    return Twin("timm", partial(VisionTransformerDistilled, **sizes["theirs"]), config)


def dinov2(gated: bool) -> Twin:
    """Without a head: timm's sees one token, the hub's the mean of the others too."""
    options: dict[str, Any] = {"init_values": 0.1, "num_classes": 0}
    if gated:
        options |= {"mlp_layer": SwiGLUPacked, "act_layer": torch.nn.SiLU, "mlp_ratio": 8 / 3 * 2}
    sizes = vit(14, **options)
    config = px.models.DINOv2Config(**{**sizes["ours"], "classes": 0}, use_swiglu_ffn=gated)
    return Twin("timm", partial(VisionTransformer, **sizes["theirs"]), config, (112, 112), head=False)


def swin() -> Twin:
    """Maps of 28, 14 and 7 patches, so that windows are shifted in the first two stages and not in the last."""
    sizes = {"embed_dim": 24, "depths": (2, 2, 3), "num_heads": (2, 3, 4), "window_size": 7}
    build = partial(SwinTransformer, img_size=112, num_classes=10, **sizes)
    return Twin("timm", build, px.models.SwinConfig(**sizes, image_size=112, classes=10), (112, 112))


def convnext(version: int) -> Twin:
    """Version 2 normalises responses, and has no factors of branches."""
    depths, dims = (1, 1, 2, 1), (8, 16, 24, 32)
    options: dict[str, Any] = {"use_grn": True, "ls_init_value": None} if version == 2 else {}
    kind = px.models.ConvNextV2Config if version == 2 else px.models.ConvNextConfig
    config = kind(hidden_sizes=dims, depths=depths, layer_norm_eps=1e-6, classes=10)
    return Twin("timm", partial(ConvNeXt, depths=depths, dims=dims, num_classes=10, **options), config)


TWINS = {
    **{f"resnet18 of {library}": named(library, "resnet18") for library in LIBRARIES},
    **{f"bottlenecks of {library}": resnet(library) for library in LIBRARIES},
    **{f"resnext of {library}": resnet(library, groups=32, width_per_group=4) for library in LIBRARIES},
    **{f"wide resnet of {library}": resnet(library, width_per_group=128) for library in LIBRARIES},
    "vit of timm": plain_vit(),
    "distilled deit of timm": deit(),
    "dinov2 of timm": dinov2(gated=False),
    "gated dinov2 of timm": dinov2(gated=True),
    "swin of timm": swin(),
    **{f"efficientnet_b0 of {library}": named(library, "efficientnet_b0") for library in LIBRARIES},
    **{
        f"{name} of timm": named("timm", name, (75, 98))
        for name in ("efficientnet_lite0", "tf_efficientnet_b0", "tf_efficientnet_lite0")
    },
    **{f"{name} of torchvision": named("torchvision", name) for name in ("mobilenet_v3_small", "mobilenet_v3_large")},
    **{f"convnext of timm, version {version}": convnext(version) for version in (1, 2)},
}


def dialect(family: Family, library: str) -> str | None:
    """The names in which a family speaks to a library; torchvision's ResNets are called as timm's are."""
    as_timm = library == "torchvision" and family.config is px.models.ResNetConfig
    found = "timm" if as_timm else library
    return found if found in family.names else None


def variants() -> Iterator[tuple[Family, str, str]]:
    """All published variants that a library builds: the family, the library, the name."""
    for family in FAMILIES:
        for library, (knows, _) in LIBRARIES.items():
            if dialect(family, library):
                yield from ((family, library, name) for name in family.variants if knows(name))


def disturbed(theirs: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The model, with statistics, scales and biases that hide nothing, ready to infer."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, x in [*theirs.named_parameters(), *theirs.named_buffers()]:
            if name.endswith("running_var"):
                x.uniform_(0.5, 2.0, generator=generator)
            elif name.endswith("running_mean") or (x.is_floating_point() and (x.ndim == 1 or not x.any())):
                x.add_(0.3 * torch.randn(x.shape, generator=generator))
    return theirs.eval()


def arrays(theirs: torch.nn.Module) -> dict[str, np.ndarray]:
    """Their weights by name."""
    return {name: x.numpy() for name, x in theirs.state_dict().items()}


def converted(twin: Twin, theirs: torch.nn.Module) -> Any:
    """Our model with their weights, every name of which must find its place."""
    ours = px.jit(lambda: px.models.create(twin.config, key=0))()
    family = family_of(twin.config, "converted")
    px.weights.convert(ours, arrays(theirs), family.names_of(dialect(family, twin.library) or "", twin.config))
    return ours


def answer_alike(ours: Any, theirs: Any, size: tuple[int, int], dtype: str = "float32", *, head: bool = True) -> None:
    """Both give an image the same scores, or without a head the same last features."""
    with in_dtype(dtype):
        ours = (px.f64 if dtype == "float64" else px.f32)(px.copy(ours))
        theirs = copy.deepcopy(theirs).to(getattr(torch, dtype))
        x = images(2, *size, 3)
        found = px.jit(lambda model, x: model(x) if head else model.features(x))(ours, jnp.asarray(x, dtype))
        with torch.no_grad():
            given = first(x).to(getattr(torch, dtype))
            want = theirs(given) if head else theirs.forward_features(given)
        agrees(found, want.numpy(), "scores" if head else "features", BARS[dtype]["value"])
