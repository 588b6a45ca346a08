"""EfficientNet beside the hub's."""

import copy
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from hub import compare, first, images, there_again, tiny
from kit import oracle

torch = oracle("torch")
transformers = oracle("transformers")

SMALL = {
    "width_coefficient": 0.25, "depth_coefficient": 1.0, "hidden_dim": 320, "dropout_rate": 0.0,
    "drop_connect_rate": 0.0, "kernel_sizes": [3, 5], "in_channels": [32, 16], "out_channels": [16, 40],
    "strides": [1, 2], "num_block_repeats": [1, 2], "expand_ratios": [1, 6], "num_labels": 5,
    "batch_norm_momentum": 0.8,
}  # fmt: skip


def twin(folder, **options):
    """One of theirs with statistics that move as published: theirs takes Keras' momentum for PyTorch's."""
    config = transformers.EfficientNetConfig(**SMALL | options)
    theirs = tiny(transformers.EfficientNetForImageClassification, config, folder)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1 - config.batch_norm_momentum
    return theirs


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("efficientnet")
    theirs = twin(folder)
    return theirs, px.models.load(folder)


def test_answers_learns_and_keeps_statistics_as_the_hub_s(pair):
    theirs, ours = pair
    compare(ours, theirs, images(2, 24, 32, 3), dtype="float64")


def test_in_float32(pair):
    theirs, ours = pair
    compare(ours, theirs, images(2, 24, 32, 3), dtype="float32", learn=False)


def test_other_options(tmp_path):
    theirs = twin(
        tmp_path, depth_coefficient=1.4, depth_divisor=4, hidden_act="gelu", pooling_type="max", num_channels=1,
        squeeze_expansion_ratio=0.5, batch_norm_eps=0.01, depthwise_padding=[2], strides=[2, 2],
        num_block_repeats=[1, 1],
    )  # fmt: skip
    compare(px.models.load(tmp_path), theirs, images(2, 27, 18, 1), dtype="float64", learn=False)


def test_written_here_and_loaded_there(pair, tmp_path):
    theirs, ours = pair
    again = there_again(ours, transformers.EfficientNetForImageClassification, tmp_path)
    x = first(images(2, 24, 32, 3))
    assert (again(x).logits == theirs(x).logits).all()


def padded(model, padding, **options):
    """The same weights with other padding."""
    config = replace(model.config, padding=padding, **options)
    return px.merge(px.eval_shape(lambda: px.models.create(config, key=0)), *px.split(model))


def test_padding_of_any_size_and_as_much_before_as_after(pair):
    theirs, ours = copy.deepcopy(pair[0]), pair[1]
    x = images(2, 26, 26, 3)  # 13 stands before the stride of block 1
    models = [padded(ours, *p) for p in (("same",), ("symmetric",))]
    models.append(padded(ours, "static", depthwise_padding=(1,)))
    same, symmetric, static = px.jit(lambda models, x: [m(x) for m in models])(models, jnp.asarray(x))
    np.testing.assert_allclose(same, static, rtol=1e-5, atol=1e-6)
    for module in theirs.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ZeroPad2d):
                setattr(module, name, torch.nn.ZeroPad2d(child.padding[1]))
    want = theirs(first(x)).logits.detach().numpy()
    np.testing.assert_allclose(symmetric, want, rtol=1e-5, atol=1e-5 * np.abs(want).max())


def test_stochastic_depth_grows_with_depth_and_skips_the_branch(pair):
    config = replace(pair[1].config, num_block_repeats=(2, 3), drop_connect_rate=0.8)
    model = px.models.create(config, key=0)
    rates = [None if block.drop is None else block.drop.p for stage in model.stages for block in stage]
    assert rates == [None, pytest.approx(0.16), None, pytest.approx(0.48), pytest.approx(0.64)]
    block = px.testmode(model.stages[1][1])
    px.trainmode(block.drop)
    x = jnp.asarray(images(400, 2, 2, 16))
    ours, whole = px.jit(lambda a, b, x: (a(x), b(x)))(block, px.testmode(px.copy(block)), x)
    skipped = np.asarray(ours == x).all((1, 2, 3))
    assert abs(skipped.mean() - 0.48) < 0.06
    np.testing.assert_allclose(ours - x, np.where(skipped[:, None, None, None], 0, (whole - x) / 0.52), atol=1e-5)


def test_dropout_stands_before_the_head(pair):
    model = px.models.create(replace(pair[1].config, dropout_rate=0.75, classes=0), key=0)
    px.trainmode(model.dropout)
    kept = np.asarray(px.jit(lambda model, x: model.pool(x))(model, jnp.ones((20, 2, 2, 320))))
    assert set(np.unique(kept)) == {0.0, 4.0}
    assert abs((kept > 0).mean() - 0.25) < 0.03


def test_names_of_other_libraries(pair, tmp_path):
    """A few of each, as their checkpoints have them."""
    ours = pair[1]
    expected = {
        "timm": ["conv_stem.weight", "bn1.running_mean", "blocks.0.0.conv_dw.weight", "blocks.0.0.se.conv_reduce.bias",
                 "blocks.0.0.conv_pw.weight", "blocks.1.1.conv_pwl.weight", "blocks.1.1.bn3.weight", "bn2.bias",
                 "classifier.weight"],
        "torchvision": ["features.0.0.weight", "features.1.0.block.0.0.weight", "features.1.0.block.1.fc1.weight",
                        "features.1.0.block.2.1.running_var", "features.2.1.block.1.0.weight",
                        "features.2.1.block.2.fc2.bias", "features.2.1.block.3.0.weight", "features.3.1.bias",
                        "classifier.1.bias"],
        "efficientnet_pytorch": ["_conv_stem.weight", "_bn0.weight", "_blocks.0._depthwise_conv.weight",
                                 "_blocks.2._se_expand.bias", "_blocks.2._bn2.weight", "_conv_head.weight",
                                 "_fc.weight"],
    }  # fmt: skip
    for dialect, some in expected.items():
        arrays = px.models.names(ours, dialect).to_theirs(ours)
        assert set(some) <= set(arrays), dialect
        assert len(arrays) == len(pair[0].state_dict())
    assert arrays["_blocks.2._depthwise_conv.weight"].shape == (96, 1, 5, 5)
    symmetric = padded(ours, "symmetric")
    with pytest.raises(px.StructureError, match="'efficientnet_pytorch', got 'transformers'"):
        px.models.save(symmetric, tmp_path, names="transformers")
    px.models.save(symmetric, tmp_path, names="torchvision")
    again = px.models.load(tmp_path)
    assert again.config == symmetric.config
    for path, array in px.state_dict(symmetric).items():
        if not jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(array, px.state_dict(again)[path])


@pytest.mark.parametrize(
    "wrong",
    [{"strides": [1, 3]}, {"in_channels": [32, 24]}, {"kernel_sizes": [3]}, {"depth_coefficient": float("nan")},
     {"depth_coefficient": 50.0, "num_block_repeats": [100, 100]}, {"pooling_type": "sum"}, {"depth_divisor": 0}],
)  # fmt: skip
def test_configs_that_no_network_has_are_refused(wrong):
    with pytest.raises(px.RangeError, match="EfficientNetConfig"):
        px.models.EfficientNetConfig.from_dict(SMALL | wrong)


@pytest.mark.parametrize(
    ("name", "count"),
    [("b0", 5_288_548), ("b1", 7_794_184), ("b2", 9_109_994), ("b3", 12_233_232), ("b4", 19_341_616),
     ("b5", 30_389_784), ("b6", 43_040_704), ("b7", 66_347_960), ("lite0", 4_652_008), ("lite1", 5_416_680),
     ("lite2", 6_092_072), ("lite3", 8_197_096), ("lite4", 13_006_568)],
)  # fmt: skip
def test_sizes_are_the_published_ones(name, count):
    """As torchvision's and timm's documentation have them."""
    model = px.eval_shape(lambda: px.models.create(f"efficientnet_{name}", key=0))
    assert sum(array.size for array in px.split(model)[0].values()) == count
