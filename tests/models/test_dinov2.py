"""DINOv2 beside the hub's."""

import numpy as np
import pytest

import phlox as px
from hub import compare, distance, fates, first, images, there_again, tiny
from kit import oracle
from phlox.models.vision import _dinov2

transformers = oracle("transformers")
SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "mlp_ratio": 2, "image_size": 28,
    "patch_size": 7, "num_labels": 5, "initializer_range": 0.3, "layerscale_value": 0.7,
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dinov2")
    config = transformers.Dinov2Config(**SMALL, use_mask_token=False)
    theirs = tiny(transformers.Dinov2ForImageClassification, config, folder)
    return theirs, px.models.load(folder), folder


@pytest.fixture(scope="module")
def with_registers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registers")
    config = transformers.Dinov2WithRegistersConfig(**SMALL, num_register_tokens=3)
    theirs = tiny(transformers.Dinov2WithRegistersForImageClassification, config, folder)
    return theirs, px.models.load(folder)


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours, _ = pair
    compare(ours, theirs, images(2, 28, 28, 3), dtype="float64")


def test_in_float32_with_positions_between_those_of_the_table(pair):
    theirs, ours, _ = pair
    compare(ours, theirs, images(2, 21, 42, 3), dtype="float32", learn=False)


def test_gated_features_and_the_unread_token_for_hidden_patches(tmp_path):
    config = transformers.Dinov2Config(**SMALL | {"num_hidden_layers": 1, "qkv_bias": False}, use_swiglu_ffn=True)
    theirs = tiny(transformers.Dinov2ForImageClassification, config, tmp_path)
    ours = px.models.load(tmp_path)
    assert ours.blocks[0].mlp.hidden == 24
    del theirs.dinov2.embeddings.mask_token
    theirs.dinov2.embeddings.mask_token = None
    compare(ours, theirs, images(2, 28, 28, 3), dtype="float64", learn=False)
    fused = _dinov2._timm(ours.config).to_theirs(ours)["blocks.0.mlp.fc1.weight"]
    gate, up = theirs.dinov2.encoder.layer[0].mlp.gate_proj, theirs.dinov2.encoder.layer[0].mlp.up_proj
    np.testing.assert_array_equal(fused, np.concatenate([gate.weight.detach(), up.weight.detach()]))


@pytest.mark.parametrize("size", [(28, 28), (14, 35)])
def test_registers(with_registers, size):
    """Positions of smaller images are averaged, not only taken between those of the table."""
    theirs, ours = with_registers
    compare(ours, theirs, images(2, *size, 3), dtype="float32", learn=False)


def test_written_here_and_loaded_there(pair, tmp_path):
    theirs, ours, _ = pair
    again = there_again(ours, transformers.Dinov2ForImageClassification, tmp_path)
    x = first(images(2, 28, 28, 3))
    assert (again(x).logits == theirs(x).logits).all()


def test_registers_written_here_and_loaded_there(with_registers, tmp_path):
    """Their class wants a token for hidden patches, which no score depends on."""
    theirs, ours = with_registers
    px.models.save(ours, tmp_path)
    cls = transformers.Dinov2WithRegistersForImageClassification
    again, found = cls.from_pretrained(tmp_path, output_loading_info=True)
    assert set(found["missing_keys"]) == {"dinov2_with_registers.embeddings.mask_token"}
    assert not found["unexpected_keys"]
    x = first(images(2, 28, 28, 3))
    assert (again.eval()(x).logits == theirs(x).logits).all()


def test_stochastic_depth_is_alike_in_all_blocks_and_stands_behind_the_scale():
    config = px.models.DINOv2Config.from_dict({**SMALL, "drop_path_rate": 0.5})
    blocks = px.models.create(config, key=0).blocks
    assert [block.path.p for block in blocks] == [0.5, 0.5]
    shares = fates(blocks[0], images(1, 3, 16))
    assert sum(shares) == pytest.approx(1.0)
    assert all(0.15 < share < 0.35 for share in shares)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("vit_small_patch14_dinov2", 22.06), ("vit_base_patch14_dinov2", 86.58), ("vit_large_patch14_dinov2", 304.37),
     ("vit_giant_patch14_dinov2", 1136.48), ("vit_base_patch14_reg4_dinov2", 86.58)],
)  # fmt: skip
def test_sizes_are_the_published_ones(name, millions):
    """As timm's table has them."""
    model = px.eval_shape(lambda: px.models.create(name, key=0))
    assert round(sum(array.size for array in px.split(model)[0].values()) / 1e6, 2) == millions


def test_a_trunk_alone_gives_the_class_s_token_and_the_mean_of_patches(pair, tmp_path):
    trunk = pair[0].dinov2
    trunk.save_pretrained(tmp_path)
    ours, x = px.models.load(tmp_path), images(2, 28, 28, 3)
    assert ours.head is None
    tokens = trunk(first(x)).last_hidden_state.detach().numpy()
    assert distance(ours(x), np.concatenate([tokens[:, 0], tokens[:, 1:].mean(1)], 1)) < 1e-5
