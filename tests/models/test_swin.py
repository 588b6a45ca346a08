"""Swin beside the hub's."""

import numpy as np
import pytest

import phlox as px
from hub import compare, fates, first, images, there_again, tiny
from kit import oracle
from phlox.models.vision import _swin

transformers = oracle("transformers")
SMALL = {
    "image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 4], "window_size": 4,
    "mlp_ratio": 2.0, "drop_path_rate": 0.0, "num_labels": 5, "initializer_range": 0.3,
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swin")
    theirs = tiny(transformers.SwinForImageClassification, transformers.SwinConfig(**SMALL), folder)
    return theirs, px.models.load(folder), folder


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours, _ = pair
    compare(ours, theirs, images(2, 32, 32, 3), dtype="float64")


def test_in_float32_with_images_that_no_patch_window_or_pair_divides(pair):
    """13 x 11 pixels are 7 x 6 patches, filled up to windows of 8 x 8, and 4 x 3 after the first stage, up to 4 x 4."""
    theirs, ours, _ = pair
    compare(ours, theirs, images(2, 13, 11, 3), dtype="float32", learn=False, always_partition=True)


def test_positions_of_patches_and_an_odd_window_that_fills_the_map(tmp_path):
    """A map as large as a window is not shifted in its second block."""
    options = {
        "image_size": (10, 10),
        "window_size": 5,
        "depths": [2],
        "num_heads": [2],
        "use_absolute_embeddings": True,
    }
    options |= {"qkv_bias": False, "layer_norm_eps": 1e-3, "hidden_act": "relu", "num_channels": 1}
    theirs = tiny(transformers.SwinForImageClassification, transformers.SwinConfig(**SMALL | options), tmp_path)
    compare(px.models.load(tmp_path), theirs, images(2, 10, 10, 1), dtype="float64", learn=False)


def test_written_here_and_loaded_there(pair, tmp_path):
    theirs, ours, _ = pair
    again = there_again(ours, transformers.SwinForImageClassification, tmp_path)
    x = first(images(2, 32, 32, 3))
    assert (again(x).logits == theirs(x).logits).all()


def test_timm_s_names(pair):
    arrays = _swin._timm(pair[1].config).to_theirs(pair[1])
    plain = _swin.TRANSFORMERS.to_theirs(pair[1])
    np.testing.assert_array_equal(
        arrays["layers.1.downsample.reduction.weight"], plain["swin.encoder.layers.0.downsample.reduction.weight"]
    )
    layer = "swin.encoder.layers.0.blocks.1.attention.self."
    fused = np.concatenate([plain[f"{layer}{name}.bias"] for name in ("query", "key", "value")])
    np.testing.assert_array_equal(arrays["layers.0.blocks.1.attn.qkv.bias"], fused)
    assert arrays["layers.0.blocks.1.attn.relative_position_bias_table"].shape == (49, 2)
    assert arrays["head.fc.weight"].shape == (5, 16)
    assert len(arrays) == len(plain) - 3 * 2 * 2  # of each block's six arrays of queries, keys and values two are left


def test_each_dropout_has_its_rate():
    options = {**SMALL, "hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.4}
    model = px.eval_shape(lambda: px.models.create(px.models.SwinConfig.from_dict(options), key=0))
    for block in (block for stage in model.stages for block in stage.blocks):
        assert (model.embed.drop.p, block.drop.p, block.attention.attention.drop.p) == (0.3, 0.3, 0.4)


def test_stochastic_depth_rises_through_all_stages_and_drops_both_branches():
    config = px.models.SwinConfig.from_dict({**SMALL, "drop_path_rate": 0.5})
    blocks = [block for stage in px.models.create(config, key=0).stages for block in stage.blocks]
    assert [getattr(block.path, "p", 0.0) for block in blocks] == [0.0, 0.25, 0.5]
    shares = fates(blocks[2], images(1, 4, 4, 16))
    assert sum(shares) == pytest.approx(1.0)
    assert all(0.15 < share < 0.35 for share in shares)


@pytest.mark.parametrize(
    ("name", "count"),
    [("swin_tiny_patch4_window7_224", 28_288_354), ("swin_small_patch4_window7_224", 49_606_258),
     ("swin_base_patch4_window7_224", 87_768_224)],
)  # fmt: skip
def test_sizes_are_the_published_ones(name, count):
    """As torchvision's documentation has them."""
    model = px.eval_shape(lambda: px.models.create(name, key=0))
    assert sum(array.size for array in px.split(model)[0].values()) == count


@pytest.mark.parametrize(
    "options", [{"depths": (2, 2)}, {"depths": (), "num_heads": ()}, {"window_size": 0}, {"image_size": 2}]
)
def test_what_does_not_fit_is_refused(options):
    with pytest.raises(px.RangeError, match=r"as many depths|image_size of at least"):
        px.models.SwinConfig(**options)
