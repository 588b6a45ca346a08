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
