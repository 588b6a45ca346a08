"""ViT beside the hub's."""

import numpy as np
import pytest

import phlox as px
from hub import compare, fates, first, images, there_again, tiny
from kit import oracle
from phlox.models import _catalogue
from phlox.models.vision import _vit

transformers = oracle("transformers")
SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24, "image_size": 16,
    "patch_size": 4, "num_labels": 5, "initializer_range": 0.3,
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    theirs = tiny(transformers.ViTForImageClassification, transformers.ViTConfig(**SMALL), folder)
    return theirs, px.models.load(folder), folder


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours, _ = pair
    compare(ours, theirs, images(2, 16, 16, 3), dtype="float64")


def test_in_float32(pair):
    theirs, ours, _ = pair
    compare(ours, theirs, images(2, 16, 16, 3), dtype="float32", learn=False)


def test_positions_between_those_of_the_table(pair):
    """Fewer rows and more columns of patches than in the table; what is left of a patch is cut off."""
    theirs, ours, _ = pair
    compare(ours, theirs, images(1, 9, 24, 3), dtype="float64", learn=False, interpolate_pos_encoding=True)


def test_oblong_images_without_biases_of_queries(tmp_path):
    options = {
        "num_hidden_layers": 1,
        "qkv_bias": False,
        "hidden_act": "gelu_new",
        "layer_norm_eps": 1e-3,
        "num_channels": 1,
    }
    options |= {"image_size": (8, 12), "patch_size": (2, 4)}
    theirs = tiny(transformers.ViTForImageClassification, transformers.ViTConfig(**SMALL | options), tmp_path)
    compare(px.models.load(tmp_path), theirs, images(2, 8, 12, 1), dtype="float64", learn=False)


def test_written_here_and_loaded_there(pair, tmp_path):
    theirs, ours, _ = pair
    again = there_again(ours, transformers.ViTForImageClassification, tmp_path)
    x = first(images(2, 16, 16, 3))
    assert (again(x).logits == theirs(x).logits).all()


def test_a_trunk_with_a_pooler_gives_the_class_s_token(tmp_path):
    theirs = tiny(transformers.ViTModel, transformers.ViTConfig(**SMALL), tmp_path)
    ours, x = px.models.load(tmp_path), images(2, 16, 16, 3)
    assert ours.head is None
    np.testing.assert_allclose(ours(x), theirs(first(x)).last_hidden_state[:, 0].detach().numpy(), rtol=1e-4, atol=1e-5)


def test_timm_s_names_hold_queries_keys_and_values_in_one(pair):
    _, ours, _ = pair
    arrays = _vit.TIMM.to_theirs(ours)
    plain = _vit.TRANSFORMERS.to_theirs(ours)
    layer = "vit.encoder.layer.1.attention.attention."
    fused = np.concatenate([plain[f"{layer}{name}.weight"] for name in ("query", "key", "value")])
    np.testing.assert_array_equal(arrays["blocks.1.attn.qkv.weight"], fused)
    assert arrays["pos_embed"].shape == (1, 17, 16)
    assert arrays["cls_token"].shape == (1, 1, 16)
    assert set(arrays) == {
        *("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"),
        *(f"blocks.{i}.{layer}.{name}" for i in (0, 1) for name in ("weight", "bias")
          for layer in ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")),
        *("norm.weight", "norm.bias", "head.weight", "head.bias"),
    }  # fmt: skip


def test_saved_by_timm_s_names_and_loaded(pair, tmp_path, monkeypatch):
    _, ours, _ = pair
    family = _vit.FAMILY
    monkeypatch.setitem(family.variants, "vit_of_the_test", ours.config)
    monkeypatch.setitem(_catalogue._VARIANTS, "vit_of_the_test", family)
    px.models.save(ours, tmp_path, names="timm")
    again = px.models.load(tmp_path)
    assert again.config == ours.config
    for path, array in px.state_dict(ours).items():
        np.testing.assert_array_equal(px.state_dict(again)[path], array)


def test_stochastic_depth_rises_and_drops_both_branches_of_fresh_blocks():
    config = px.models.ViTConfig.from_dict({**SMALL, "num_hidden_layers": 3, "drop_path_rate": 0.5})
    blocks = px.models.create(config, key=0).blocks
    assert [getattr(block.path, "p", 0.0) for block in blocks] == [0.0, 0.25, 0.5]
    shares = fates(blocks[2], images(1, 3, 16))
    assert sum(shares) == pytest.approx(1.0)
    assert all(0.15 < share < 0.35 for share in shares)
    fresh = [
        [b.attention.q_proj.weight, b.attention.out_proj.weight, *(m.weight for m in b.mlp.layers)] for b in blocks
    ]
    for arrays in zip(*fresh, strict=True):
        assert np.std(np.stack(arrays)) == pytest.approx(SMALL["initializer_range"], rel=0.1)


def test_dropout_stands_behind_the_embedding_both_branches_and_in_attention(pair):
    config = px.models.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=8, patch_size=4,
        hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.4,
    )  # fmt: skip
    model = px.models.create(config, key=0)
    (block,) = model.blocks
    loaded, x = px.trainmode(px.copy(pair[1].blocks[0])), images(1, 3, 16)
    loaded.drop = px.trainmode(px.Dropout(1.0))
    np.testing.assert_array_equal(loaded(x), x)  # biases of a branch that drops too early would stay
    assert (model.embed.drop.p, block.drop.p, block.attention.drop.p) == (0.3, 0.3, 0.4)
    trained = px.trainmode(px.copy(model))
    x = images(64, 8, 8, 3)
    before, after = model.embed(x), trained.embed(x)
    kept = np.asarray(after) != 0
    assert kept.mean() == pytest.approx(0.7, abs=0.02)
    np.testing.assert_allclose(np.asarray(after)[kept], np.asarray(before)[kept] / 0.7, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "count"),
    [("vit_base_patch16_224", 86_567_656), ("vit_base_patch32_224", 88_224_232), ("vit_large_patch16_224", 304_326_632),
     ("vit_huge_patch14_224", 632_045_800), ("deit_tiny_patch16_224", 5_717_416),
     ("deit_small_patch16_224", 22_050_664)],
)  # fmt: skip
def test_sizes_are_the_published_ones(name, count):
    """As torchvision's documentation and DeiT's paper have them."""
    model = px.eval_shape(lambda: px.models.create(name, key=0))
    assert sum(array.size for array in px.split(model)[0].values()) == count


@pytest.mark.parametrize(
    ("options", "text"),
    [({"image_size": 8, "patch_size": 16}, "image_size of at least patch_size"),
     ({"patch_size": (4, 4, 4)}, "one size, or height and width"), ({"patch_size": 0}, "one size"),
     ({"num_attention_heads": 5}, "heads that divides dim"), ({"hidden_act": "sine"}, "an activation among")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(options, text):
    with pytest.raises(px.RangeError, match=text):
        px.eval_shape(lambda: px.models.create(px.models.ViTConfig(**{"hidden_size": 16} | options), key=0))


def test_an_image_smaller_than_a_patch_is_refused(pair):
    with pytest.raises(px.ShapeError, match="at least 4 along spatial axis"):
        pair[1](images(1, 3, 8, 3))
