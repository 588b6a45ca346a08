"""DeiT beside the hub's."""

import numpy as np
import pytest

import phlox as px
from hub import compare, first, images, there_again, tiny
from kit import oracle
from phlox.models.vision import _deit

transformers = oracle("transformers")
SMALL = {
    "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 20, "image_size": 16,
    "patch_size": 4, "num_labels": 5, "initializer_range": 0.3,
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deit")
    theirs = tiny(transformers.DeiTForImageClassificationWithTeacher, transformers.DeiTConfig(**SMALL), folder)
    return theirs, px.models.load(folder), folder


def test_two_heads_answer_and_learn_as_the_hub_s(pair):
    theirs, ours, _ = pair
    compare(ours, theirs, images(2, 16, 16, 3), dtype="float64")


def test_in_float32_each_head_s_scores_too(pair):
    theirs, ours, _ = pair
    x = images(2, 16, 16, 3)
    compare(ours, theirs, x, dtype="float32", learn=False)
    by_class, by_teacher = px.jit(lambda m, x: m.head.both(m.pool(m.features(x))))(ours, x)
    out = theirs(first(x))
    np.testing.assert_allclose(by_class, out.cls_logits.detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_teacher, out.distillation_logits.detach(), rtol=1e-4, atol=1e-5)


def test_one_head_at_another_size(tmp_path):
    config = transformers.DeiTConfig(**SMALL | {"layer_norm_eps": 1e-3, "hidden_act": "quick_gelu"})
    theirs = tiny(transformers.DeiTForImageClassification, config, tmp_path)
    ours = px.models.load(tmp_path)
    assert not ours.config.teacher_head
    compare(ours, theirs, images(2, 20, 12, 3), dtype="float64", learn=False, interpolate_pos_encoding=True)
    there_again(ours, transformers.DeiTForImageClassification, tmp_path / "again")


def test_written_here_and_loaded_there(pair, tmp_path):
    theirs, ours, _ = pair
    again = there_again(ours, transformers.DeiTForImageClassificationWithTeacher, tmp_path)
    x = first(images(2, 16, 16, 3))
    assert (again(x).logits == theirs(x).logits).all()


def test_other_classes_draw_both_heads(pair):
    _, ours, folder = pair
    other = px.models.load(folder, classes=3, key=0)
    assert other.head.cls.weight.shape == other.head.teacher.weight.shape == (12, 3)
    np.testing.assert_array_equal(other.embed.distillation_token, ours.embed.distillation_token)


def test_timm_s_names(pair):
    arrays = _deit.TIMM.to_theirs(pair[1])
    plain = _deit.TRANSFORMERS.to_theirs(pair[1])
    np.testing.assert_array_equal(arrays["head_dist.weight"], plain["distillation_classifier.weight"])
    np.testing.assert_array_equal(arrays["dist_token"], plain["deit.embeddings.distillation_token"])
    assert arrays["pos_embed"].shape == (1, 18, 12)


@pytest.mark.parametrize(
    ("name", "count"),
    [("deit_tiny_distilled_patch16_224", 5_910_800), ("deit_small_distilled_patch16_224", 22_436_432),
     ("deit_base_distilled_patch16_224", 87_338_192)],
)  # fmt: skip
def test_sizes_are_the_published_ones(name, count):
    """As timm's table has them."""
    model = px.eval_shape(lambda: px.models.create(name, key=0))
    assert sum(array.size for array in px.split(model)[0].values()) == count
