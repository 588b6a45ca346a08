"""ResNet beside the hub's."""

import pytest

import phlox as px
from hub import compare, first, images, there_again, tiny
from kit import oracle

transformers = oracle("transformers")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[2, 1], num_labels=5)
    folder = tmp_path_factory.mktemp("resnet")
    theirs = tiny(transformers.ResNetForImageClassification, config, folder)
    return theirs, px.models.load(folder), folder


def test_bottlenecks_answer_learn_and_keep_statistics_as_the_hub_s(pair):
    theirs, ours, _ = pair
    compare(ours, theirs, images(2, 32, 32, 3), dtype="float64")


def test_in_float32(pair):
    theirs, ours, _ = pair
    compare(ours, theirs, images(2, 32, 32, 3), dtype="float32", learn=False)


def test_basic_blocks_with_other_strides(tmp_path):
    config = transformers.ResNetConfig(
        embedding_size=6, hidden_sizes=[6, 8], depths=[1, 2], layer_type="basic", num_labels=3,
        downsample_in_first_stage=True, hidden_act="gelu",
    )  # fmt: skip
    theirs = tiny(transformers.ResNetForImageClassification, config, tmp_path)
    compare(px.models.load(tmp_path), theirs, images(2, 32, 32, 3), dtype="float64")


def test_written_here_and_loaded_there(pair, tmp_path):
    theirs, ours, _ = pair
    again = there_again(ours, transformers.ResNetForImageClassification, tmp_path)
    x = first(images(2, 32, 32, 3))
    assert (again(x).logits == theirs(x).logits).all()


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032), ("resnet101", 44_549_160),
     ("resnet152", 60_192_808), ("resnext50_32x4d", 25_028_904), ("resnext101_32x8d", 88_791_336),
     ("resnext101_64x4d", 83_455_272), ("wide_resnet50_2", 68_883_240), ("wide_resnet101_2", 126_886_696)],
)  # fmt: skip
def test_sizes_are_the_published_ones(name, count):
    """As torchvision's documentation has them."""
    model = px.eval_shape(lambda: px.models.create(name, key=0))
    assert sum(array.size for array in px.split(model)[0].values()) == count


def test_what_transformers_does_not_have_goes_by_timm_s_names(tmp_path):
    """Its config has neither groups nor widths: their folder would be another network there."""
    wide = px.models.ResNetConfig(width_per_group=128)
    family = px.models._catalogue.family_of(wide, "")
    assert family.dialects(wide) == family.dialects(px.models.ResNetConfig(groups=32, width_per_group=4)) == ("timm",)
    assert family.dialects(px.models.ResNetConfig()) == ("transformers", "timm")
    model = px.eval_shape(lambda: px.models.create("wide_resnet50_2"))
    with pytest.raises(px.StructureError, match="names that can hold this config: 'timm', got 'transformers'"):
        px.models.save(model, tmp_path, names="transformers")
    for options in ({"groups": 2}, {"width_per_group": 32}):
        with pytest.raises(px.RangeError, match="groups=1 and width_per_group=64 with basic layers"):
            px.models.ResNetConfig(layer_type="basic", hidden_sizes=(8,), depths=(1,), **options)
