"""Folders that timm wrote open here, and what px.models.save writes opens in timm and torchvision."""

import json

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_tensors

import phlox as px
from areas.vision.twins import answer_alike, arrays, disturbed
from phlox.models._catalogue import family_of

SMALLEST = (
    "resnet18", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224",
    "efficientnet_lite0", "tf_efficientnet_b0", "convnextv2_atto",
)  # fmt: skip
"""A small published variant of each family, by timm's name."""


@pytest.fixture(scope="module", params=SMALLEST)
def folder(request, tmp_path_factory):
    """A model of timm's, and the folder that timm wrote it to."""
    torch.manual_seed(0)
    theirs = disturbed(timm.create_model(request.param, num_classes=7))
    path = tmp_path_factory.mktemp(request.param)
    timm.models.save_for_hf(theirs, path, safe_serialization=True)
    return theirs, path


def same(theirs, again):
    """The same arrays under the same names."""
    left, right = arrays(theirs), arrays(again)
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def test_timm_s_folder_opens_here_and_ours_in_timm(folder, tmp_path):
    theirs, path = folder
    ours = px.models.load(path, key=0)
    assert ours.config.classes == 7
    answer_alike(ours, theirs, theirs.pretrained_cfg["input_size"][1:])
    px.models.save(ours, tmp_path, names="timm")
    same(theirs, timm.create_model(f"local-dir:{tmp_path}", pretrained=True))
    architecture = json.loads((tmp_path / "config.json").read_text())["architecture"]
    built = timm.create_model(architecture, num_classes=7)
    built.load_state_dict(load_tensors(tmp_path / "model.safetensors"), strict=True)


def test_torchvision_loads_a_resnet_that_timm_wrote(tmp_path):
    theirs = disturbed(timm.create_model("resnet18", num_classes=7))
    timm.models.save_for_hf(theirs, tmp_path / "timm", safe_serialization=False)
    assert not list((tmp_path / "timm").glob("*.safetensors"))
    ours = px.models.load(tmp_path / "timm")
    px.models.save(ours, tmp_path / "ours", names="timm")
    other = torchvision.models.resnet18(num_classes=7)
    other.load_state_dict(load_tensors(tmp_path / "ours" / "model.safetensors"), strict=True)
    same(theirs, other)


def test_a_state_dict_of_torchvision_is_read(tmp_path):
    theirs = disturbed(torchvision.models.resnet18(num_classes=7))
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    ours = px.models.create("resnet18", classes=7, key=0)
    names = family_of(ours.config, "").names_of("timm", ours.config)
    px.weights.convert(ours, px.weights.read(tmp_path / "resnet18.pth"), names)
    px.models.save(ours, tmp_path, names="timm")
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == theirs.state_dict().keys()
    for name, x in arrays(theirs).items():
        np.testing.assert_array_equal(found[name], x, err_msg=name)


def test_channels_and_sizes_of_images_are_what_timm_built(tmp_path):
    options = {"num_classes": 3, "in_chans": 1, "img_size": (48, 64), "drop_path_rate": 0.1}
    theirs = timm.create_model("deit_tiny_patch16_224", **options)
    timm.models.save_for_hf(theirs, tmp_path, safe_serialization=True)
    config = px.models.load(tmp_path).config
    assert (config.num_channels, config.image_size, config.classes) == (1, (48, 64), 3)


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("resnet18", {"output_stride": 8}, "output_stride=8"),
        ("resnet18", {"global_pool": "max"}, "global_pool='max'"),
        ("vit_tiny_patch16_224", {"global_pool": "avg"}, "global_pool='avg'"),
        ("vit_tiny_patch16_224", {"depth": 2}, "depth=2"),
    ],
)
def test_what_makes_other_scores_of_the_same_weights_is_refused(name, options, text, tmp_path):
    timm.models.save_for_hf(timm.create_model(name, num_classes=3, **options), tmp_path, safe_serialization=True)
    with pytest.raises(px.RangeError) as caught:
        px.models.load(tmp_path)
    assert text in str(caught.value)
