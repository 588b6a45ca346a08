"""Pictures on their way into a model come out as from timm's and torchvision's own transforms."""

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision import transforms
from torchvision.transforms import InterpolationMode, functional

import phlox as px
from areas.vision.twins import first, variants
from kit import assert_close

CHINA, FLOWER = load_sample_images().images  # (427, 640, 3)
PICTURES = (CHINA, FLOWER, np.ascontiguousarray(CHINA[:, 100:341]))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ImagePreprocessor = px.models.ImagePreprocessor


def published():
    """The different ways in which timm prepares pictures for the variants that Phlox has, each by a variant's name."""
    found = {}
    for _, library, name in variants():
        if library == "timm":
            found.setdefault(str(timm.data.resolve_data_config(pretrained_cfg=config_of(name))), name)
    return list(found.values())


def config_of(name):
    return timm.get_pretrained_cfg(name).to_dict()


def same(ours, theirs, what=""):
    """Ours, (1, height, width, 3), is theirs, (3, height, width)."""
    assert_close(np.asarray(ours)[0], theirs.numpy().transpose(1, 2, 0), what=what)


@pytest.mark.parametrize("name", published())
def test_published_configs_of_timm(name):
    theirs = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=config_of(name)))
    ours = ImagePreprocessor.from_config(config_of(name))
    for picture in PICTURES:
        same(ours(picture), theirs(Image.fromarray(picture)), name)


ODD = [
    {"crop_mode": "squash", "crop_pct": 0.9},
    {"crop_mode": "border", "crop_pct": 1.0},
    {"input_size": (3, 160, 200), "crop_pct": 0.93},
    {"input_size": (3, 160, 200), "crop_mode": "squash", "interpolation": "bilinear"},
    {"input_size": (3, 97, 97), "interpolation": "lanczos", "mean": (0.5,) * 3, "std": (0.25, 0.5, 1.0)},
    {"input_size": (3, 600, 600), "interpolation": "nearest", "crop_pct": 1.0},
]


@pytest.mark.parametrize("options", ODD, ids=str)
def test_other_configs_of_timm(options):
    config = {**config_of("resnet18"), **options}
    theirs = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=config))
    ours = ImagePreprocessor.from_config(config)
    for picture in PICTURES:
        same(ours(picture), theirs(Image.fromarray(picture)), str(options))


def test_timm_s_folder_says_how(tmp_path):
    model = timm.create_model("resnet18", num_classes=2)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True, data_config={"crop_pct": 0.8, "mean": (0.1,) * 3})
    config = {"input_size": (3, 224, 224), "interpolation": "bicubic", "crop_pct": 0.8, "mean": (0.1,) * 3}
    theirs = timm.data.create_transform(**config)
    same(ImagePreprocessor.from_config(tmp_path)(FLOWER), theirs(Image.fromarray(FLOWER)))


@pytest.mark.parametrize("weights", ["ResNet18", "ViT_B_16", "Swin_T", "EfficientNet_B1"])
def test_presets_of_torchvision(weights):
    preset = getattr(torchvision.models, f"{weights}_Weights").DEFAULT.transforms()
    size, crop = preset.resize_size[0], preset.crop_size[0]
    method = preset.interpolation.value
    ours = ImagePreprocessor(
        size=size, crop=(crop, crop), crop_rounding="even", method=method, mean=preset.mean, std=preset.std
    )
    for picture in PICTURES:
        same(ours(picture), preset(Image.fromarray(picture)), weights)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
def test_steps_of_torchvision_on_pictures(method):
    steps = [
        transforms.Resize(150, InterpolationMode(method)), transforms.CenterCrop((140, 260)),
        transforms.ToTensor(), transforms.Normalize(MEAN, STD),
    ]  # fmt: skip
    ours = ImagePreprocessor(
        size=150, crop=(140, 260), crop_rounding="even", method=method, mean=MEAN, std=STD
    )  # of the upright picture the crop lacks columns
    for picture in PICTURES:
        same(ours(picture), transforms.Compose(steps)(Image.fromarray(picture)), method)


@pytest.mark.parametrize(("method", "antialias"), [("bilinear", True), ("bilinear", False), ("bicubic", True)])
def test_floating_tensors_are_resized_alike(method, antialias):
    """torch in float64: in float32 it places its shares by float32, and is 3e-5 away from itself."""
    x = np.float32(CHINA[None] / 255)
    for size in ((100, 150), (500, 700)):
        want = functional.resize(first(x).double(), list(size), InterpolationMode(method), antialias=antialias)
        found = px.models.resize(x, size, method, antialias=antialias)
        assert_close(found, want.permute(0, 2, 3, 1).numpy(), what=f"{size}")


@pytest.mark.parametrize(("method", "most"), [("bilinear", 1), ("bicubic", 3)])
def test_tensors_of_8_bits_differ_by_little(method, most):
    """Ours are Pillow's; torchvision rounds its tensors otherwise, after each axis and in the shares."""
    planes = torch.tensor(FLOWER).permute(2, 0, 1)
    want = functional.resize(planes, [100, 150], InterpolationMode(method), antialias=True).permute(1, 2, 0).numpy()
    found = np.asarray(px.models.resize(FLOWER, (100, 150), method))
    difference = np.abs(found.astype(int) - want.astype(int))
    assert difference.max() <= most
    assert difference.mean() < 0.15
