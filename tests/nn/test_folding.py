"""Batch normalisation folded into layers: the numbers of the model before, and PyTorch's folded weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle


def drawn(model, seed=0):
    """The model with statistics, scales and biases as a training leaves them."""
    rng = np.random.default_rng(seed)
    ranges = {"scale": (-2, 2), "bias": (-1, 1), "mean": (-1, 1), "var": (0.01, 3)}
    for path, array in px.paths(model).items():
        name = path.rpartition(".")[2]
        if name in ranges:
            px.set_at(model, path, jnp.asarray(rng.uniform(*ranges[name], array.shape), jnp.float32))
    return model


LAYERS = {
    "conv": (lambda **o: px.Conv((3, 2), 4, 6, stride=2, padding=1, **o), (2, 9, 8, 4)),
    "groups": (lambda **o: px.Conv((3,), 4, 6, groups=2, padding_mode="reflect", padding=1, **o), (2, 9, 4)),
    "transposed": (lambda **o: px.ConvTranspose((3, 3), 4, 6, stride=2, **o), (2, 5, 4, 4)),
    "transposed groups": (lambda **o: px.ConvTranspose((3,), 4, 6, groups=2, **o), (2, 5, 4)),
    "depthwise": (lambda **o: px.DepthwiseConv((3, 3), 3, multiplier=2, **o), (2, 6, 6, 3)),
    "dense": (lambda **o: px.Dense(4, 6, **o), (5, 4)),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"bias": False}], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_a_folded_layer_gives_what_layer_and_norm_gave(name, options, bias):
    make, shape = LAYERS[name]
    with px.seed(1):
        model = drawn(px.Chain(make(bias=bias), px.BatchNorm(6, px.relu, **options)))
    x = jnp.asarray(np.random.default_rng(2).normal(size=shape), jnp.float32)
    folded = px.fold_batch_norm(model)
    assert folded.layers[1] is px.identity
    assert type(folded.layers[0]) is type(model.layers[0])
    np.testing.assert_allclose(folded(x), model(x), rtol=1e-5, atol=2e-5)
    assert isinstance(model.layers[1], px.BatchNorm), "the model itself stays"


def test_weights_are_those_that_pytorch_folds():
    torch = oracle("torch")
    model = drawn(px.Chain(px.Conv((3, 3), 4, 6), px.BatchNorm(6, eps=1e-3)))
    conv, norm = model.layers
    theirs, batch_norm = torch.nn.Conv2d(4, 6, 3).eval(), torch.nn.BatchNorm2d(6, eps=1e-3).eval()
    theirs.weight.data = torch.from_numpy(np.array(conv.weight.transpose(3, 2, 0, 1)))
    theirs.bias.data = torch.from_numpy(np.array(conv.bias))
    for name, value in [
        ("weight", norm.scale),
        ("bias", norm.bias),
        ("running_mean", norm.mean),
        ("running_var", norm.var),
    ]:
        getattr(batch_norm, name).data = torch.from_numpy(np.array(value))
    fused = torch.nn.utils.fuse_conv_bn_eval(theirs, batch_norm)
    ours = px.fold_batch_norm(model).layers[0]
    np.testing.assert_allclose(ours.weight.transpose(3, 2, 0, 1), fused.weight.detach(), rtol=1e-6)
    np.testing.assert_allclose(ours.bias, fused.bias.detach(), rtol=1e-5, atol=1e-6)


class Block(px.Module):
    def __init__(self):
        self.conv1, self.norm1 = px.Conv((3, 3), 3, 4, padding=1), px.BatchNorm(4)
        self.rest = px.Chain(conv=px.Conv((3, 3), 4, 4, padding=1), norm=px.BatchNorm(4, px.relu))

    def __call__(self, x):
        y = px.relu(self.norm1(self.conv1(x)))
        return y + self.rest(y)


def test_named_pairs_and_chains_by_name():
    with px.seed(0):
        model = drawn(Block())
    folded = px.fold_batch_norm(model, ("conv1", "norm1"))
    assert folded.norm1 is px.identity
    assert folded.rest.layers["norm"] is px.identity
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 3))
    np.testing.assert_allclose(folded(x), model(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(px.jit(lambda m, x: m(x))(folded, x), model(x), rtol=1e-5, atol=1e-5)
    assert not [p for p in px.paths(folded) if "norm" in p]


def test_sixteen_bits_stay_and_are_rounded_once():
    model = px.bf16(drawn(px.Chain(px.Dense(4, 3), px.BatchNorm(3))))
    folded = px.fold_batch_norm(model)
    wide = px.fold_batch_norm(px.f32(model))
    for path, w in px.paths(folded).items():
        np.testing.assert_array_equal(w, px.at(wide, path).astype(jnp.bfloat16))


def shared_layer():
    layer = px.Dense(3, 3)
    return px.Chain(layer, px.BatchNorm(3), layer)


def tied_layer():
    model = px.Chain(px.Dense(3, 3), px.BatchNorm(3), px.Dense(3, 3))
    px.tie(model, "layers.2.weight", "layers.0.weight")
    return model


@pytest.mark.parametrize(
    ("model", "got"),
    [
        (lambda: px.Chain(px.Dense(3, 3, px.relu), px.BatchNorm(3)), "relu"),
        (lambda: px.Chain(px.Dense(3, 3), px.BatchNorm(3, track=False)), "one without statistics"),
        (lambda: px.trainmode(px.Chain(px.Dense(3, 3), px.BatchNorm(3))), "one that trains"),
        (shared_layer, "one that is shared"),
        (tied_layer, "one that is shared"),
        (lambda: px.Chain(px.LayerNorm(3), px.BatchNorm(3)), "LayerNorm"),
        (lambda: px.Chain(px.Dense(3, 3), px.LayerNorm(3)), "LayerNorm"),
        (lambda: px.Chain(px.Dense(3, 3), px.BatchNorm(4)), "BatchNorm\\(4\\)"),
    ],
)
def test_what_would_change_the_numbers_stays_and_is_refused_by_name(model, got):
    model = model()
    before = repr(model)
    assert repr(px.fold_batch_norm(model)) == before
    with pytest.raises(px.StructureError, match=f"px.fold_batch_norm, 'layers.0' and 'layers.1'.*{got}"):
        px.fold_batch_norm(model, ("layers.0", "layers.1"))
