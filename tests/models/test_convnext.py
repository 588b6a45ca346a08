"""ConvNeXt and ConvNeXt V2 beside the hub's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from hub import compare, first, images, there_again, tiny
from kit import oracle
from phlox.models.vision._convnext import GlobalResponseNorm

torch = oracle("torch")
transformers = oracle("transformers")

SMALL = {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2, "num_labels": 5}


@pytest.fixture(scope="module", params=["ConvNext", "ConvNextV2"])
def pair(request, tmp_path_factory):
    name, folder = request.param, tmp_path_factory.mktemp("convnext")
    scale = {"layer_scale_init_value": 0.5} if name == "ConvNext" else {}
    config = getattr(transformers, name + "Config")(**SMALL | scale)
    cls = getattr(transformers, name + "ForImageClassification")
    theirs = tiny(cls, config, folder)
    with torch.no_grad():  # zero to begin with, which would hide the norm
        for parameter, x in theirs.named_parameters():
            if ".grn." in parameter:
                x.normal_(generator=torch.Generator().manual_seed(len(parameter)))
    theirs.save_pretrained(folder)
    return cls, theirs, px.models.load(folder)


def test_answers_and_learns_as_the_hub_s(pair):
    """In float64 the windows of 7 × 7 compile slowly on a CPU; gradients of both versions take too long there."""
    cls, theirs, ours = pair
    first_version = cls is transformers.ConvNextForImageClassification
    compare(ours, theirs, images(2, 16, 24, 3), dtype="float64", learn=first_version)


def test_in_float32(pair):
    cls, theirs, ours = pair
    second_version = cls is transformers.ConvNextV2ForImageClassification
    compare(ours, theirs, images(2, 16, 24, 3), dtype="float32", learn=second_version)


def test_written_here_and_loaded_there(pair, tmp_path):
    cls, theirs, ours = pair
    again = there_again(ours, cls, tmp_path)
    x = first(images(2, 16, 24, 3))
    assert (again(x).logits == theirs(x).logits).all()


def test_other_options(tmp_path):
    config = transformers.ConvNextConfig(
        hidden_sizes=[8, 8], depths=[2, 1], num_stages=2, num_labels=3, num_channels=1, patch_size=3,
        hidden_act="relu", layer_norm_eps=0.1, layer_scale_init_value=0.0,
    )  # fmt: skip
    theirs = tiny(transformers.ConvNextForImageClassification, config, tmp_path)
    compare(px.models.load(tmp_path), theirs, images(2, 26, 21, 1), dtype="float64", learn=False)


def test_stochastic_depth_grows_with_depth_and_skips_the_branch():
    config = px.models.ConvNextConfig(
        hidden_sizes=(4, 8), depths=(2, 3), drop_path_rate=0.8, classes=2, layer_scale_init_value=1.0
    )
    model = px.models.create(config, key=0)
    rates = [block.drop.p for stage in model.stages for block in stage.blocks]
    np.testing.assert_allclose(rates, [0, 0.2, 0.4, 0.6, 0.8])
    block = px.testmode(model.stages[1].blocks[0])
    px.trainmode(block.drop)
    x = jnp.asarray(images(400, 2, 2, 8))
    ours, whole = px.jit(lambda a, b, x: (a(x), b(x)))(block, px.testmode(px.copy(block)), x)
    skipped = np.asarray(ours == x).all((1, 2, 3))
    assert abs(skipped.mean() - 0.4) < 0.06
    np.testing.assert_allclose(ours - x, np.where(skipped[:, None, None, None], 0, (whole - x) / 0.6), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_response_norm_of_zeros_and_of_what_float16_cannot_square(dtype):
    """Against the definition in float64; a picture of zeros and a dead channel have finite gradients."""
    x = np.asarray(300 * images(2, 5, 4, 3)).astype(dtype)
    x[0], x[1, ..., 2] = 0, 0
    layer = GlobalResponseNorm(3)
    layer.scale = jnp.ones(3, dtype)
    layer.bias = jnp.zeros(3, dtype)
    run = jax.jit(lambda x: (layer(x), jax.grad(lambda x: layer(x).astype("float32").mean())(x)))
    y, slope = run(x)
    norms = np.linalg.norm(x.astype("float64"), axis=(1, 2), keepdims=True)
    want = x + x * (norms / (norms.mean(-1, keepdims=True) + 1e-6))
    np.testing.assert_allclose(y, want, rtol=1e-2 if dtype == "float16" else 1e-5)
    assert y.dtype == dtype
    assert np.isfinite(slope).all()


def test_names_of_timm():
    """A few, as its checkpoints have them."""
    first_version = px.models.ConvNextConfig(hidden_sizes=(4, 8), depths=(1, 1), classes=2)
    second = px.models.ConvNextV2Config(hidden_sizes=(4, 8), depths=(1, 1), classes=2)
    expected = {
        first_version: {"stem.0.weight": (4, 3, 4, 4), "stem.1.bias": (4,), "stages.0.blocks.0.gamma": (4,),
                        "stages.1.downsample.1.weight": (8, 4, 2, 2), "stages.1.blocks.0.conv_dw.weight": (8, 1, 7, 7),
                        "stages.1.blocks.0.mlp.fc1.weight": (32, 8), "head.norm.weight": (8,), "head.fc.bias": (2,)},
        second: {"stages.1.blocks.0.mlp.grn.weight": (32,), "stages.1.downsample.0.weight": (4,)},
    }  # fmt: skip
    for config, shapes in expected.items():
        model = px.models.create(config, key=0)
        arrays = px.models.names(model, "timm").to_theirs(model)
        assert shapes.items() <= {name: array.shape for name, array in arrays.items()}.items()


def test_configs_that_no_network_has_are_refused():
    with pytest.raises(px.RangeError, match="each stage"):
        px.models.ConvNextV2Config.from_dict({"depths": [1, 2], "hidden_sizes": [8]})


@pytest.mark.parametrize(
    ("name", "count"),
    [("convnext_tiny", 28_589_128), ("convnext_small", 50_223_688), ("convnext_base", 88_591_464),
     ("convnext_large", 197_767_336), ("convnext_xlarge", 350_196_968), ("convnextv2_atto", 3_708_400),
     ("convnextv2_femto", 5_233_240), ("convnextv2_pico", 9_066_280), ("convnextv2_nano", 15_623_800),
     ("convnextv2_tiny", 28_635_496), ("convnextv2_base", 88_717_800), ("convnextv2_large", 197_956_840),
     ("convnextv2_huge", 660_289_640)],
)  # fmt: skip
def test_sizes_are_the_published_ones(name, count):
    """As timm's tables have them."""
    model = px.eval_shape(lambda: px.models.create(name, key=0))
    assert sum(array.size for array in px.split(model)[0].values()) == count
