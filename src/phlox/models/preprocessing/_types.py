"""The types of Hugging Face's processors, and what each takes where the config says nothing."""

from __future__ import annotations

from dataclasses import dataclass

from phlox.models.preprocessing._entries import MEAN, STD

Three = tuple[float, ...]
HALF: Three = (0.5, 0.5, 0.5)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BILINEAR, BICUBIC = 2, 3


@dataclass(frozen=True)
class Type:
    """One type of processor. ``crop`` is None where it crops nothing, whatever the config says.

    ``square`` is what a size of one number means: (n, n), else the shorter edge.
    """

    size: int | dict[str, int]
    resample: int = BICUBIC
    mean: Three = HALF
    std: Three = HALF
    crop: int | None = 224
    crops: bool = False
    square: bool = True
    normalizes: bool | None = True  # None: never
    rgb: bool = False
    pads: bool | None = None  # None: never
    crop_pct: float | None = None
    rule: str = "plain"


def _detr() -> Type:
    size = {"shortest_edge": 800, "longest_edge": 1333}
    return Type(size, BILINEAR, MEAN, STD, None, square=False, pads=True, rule="detr")


TYPES: dict[str, Type] = {
    "BeitImageProcessor": Type(224),
    "BitImageProcessor": Type(224, BICUBIC, CLIP_MEAN, CLIP_STD, crops=True, square=False, rgb=True, pads=False),
    "BlipImageProcessor": Type(384, BICUBIC, CLIP_MEAN, CLIP_STD, rgb=True, pads=False),
    "CLIPImageProcessor": Type(224, BICUBIC, CLIP_MEAN, CLIP_STD, crops=True, square=False, rgb=True, pads=False),
    "ConditionalDetrImageProcessor": _detr(),
    "ConvNextImageProcessor": Type(384, square=False, crop_pct=224 / 256, rule="convnext"),
    "DeformableDetrImageProcessor": _detr(),
    "DeiTImageProcessor": Type(256, crops=True, pads=False),
    "DetrImageProcessor": _detr(),
    "EfficientNetImageProcessor": Type(346, crop=289, rule="efficientnet"),
    "LevitImageProcessor": Type(224, BICUBIC, MEAN, STD, crops=True, square=False, pads=False, rule="levit"),
    "MobileNetV1ImageProcessor": Type(256, BILINEAR, crops=True, square=False, pads=False),
    "MobileNetV2ImageProcessor": Type(256, BILINEAR, crops=True, square=False),
    "MobileViTImageProcessor": Type(224, crop=256, crops=True, square=False, normalizes=None, rule="mobilevit"),
    "PvtImageProcessor": Type(224, BICUBIC, MEAN, STD, pads=False),
    "SegformerImageProcessor": Type(512, BILINEAR, MEAN, STD, None),
    "SiglipImageProcessor": Type({"height": 224, "width": 224}, square=False, rgb=True, pads=False),
    "ViTImageProcessor": Type(224, BILINEAR, pads=False),
}
