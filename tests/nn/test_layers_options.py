"""Options of layers that PyTorch's users expect: norms without a bias, cumulative statistics, sizes at the call."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle, to_numpy
from phlox import nn
from registry import normal

F = nn.functional


def given(layer, twin):
    """Weights of ours put into a norm of PyTorch's."""
    with oracle("torch").no_grad():
        twin.weight.copy_(oracle("torch").tensor(np.asarray(layer.scale)))
        if layer.bias is not None:
            twin.bias.copy_(oracle("torch").tensor(np.asarray(layer.bias)))
    return twin


# --- transformers --------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")  # PyTorch's, about its own fast path
def test_a_transformer_without_biases_is_pytorchs_and_takes_its_eps():
    torch = oracle("torch")
    options = {"dropout": 0.0, "norm_first": True, "bias": False}
    model = nn.Transformer(4, 2, 6, encoder_layers=1, decoder_layers=1, eps=0.1, key=0, **options)
    twin = torch.nn.Transformer(4, 2, 1, 1, 6, batch_first=True, layer_norm_eps=0.1, **options).eval()
    assert not [path for path in px.paths(model) if path.endswith("bias")]
    names = {"self_attn": "attention", "linear1": "mlp.layers.0", "linear2": "mlp.layers.2"}
    across = {**names, "self_attn": "self_attention", "multihead_attn": "cross_attention"}
    ours = dict(px.paths(model))
    with torch.no_grad():
        for name, w in twin.named_parameters():
            stack, *rest = name.split(".")
            part = ".".join({"encoder": names, "decoder": across}[stack].get(p, p) for p in rest)
            part = f"{stack}.{part}"
            if part.endswith("in_proj_weight"):
                stem = part.removesuffix("in_proj_weight")
                w.copy_(torch.tensor(np.concatenate([np.asarray(ours[f"{stem}{n}_proj.weight"]).T for n in "qkv"])))
            elif "norm" in part:
                scale = normal(4, seed=len(part)) + 1
                w.copy_(torch.tensor(scale))
                px.set_at(model, part.replace("weight", "scale"), jnp.asarray(scale))
            else:
                w.copy_(torch.tensor(np.asarray(ours[part]).T))
    source, target = normal(2, 5, 4), normal(2, 3, 4, seed=1)
    later = torch.triu(torch.ones(3, 3, dtype=torch.bool), 1)
    want = twin(torch.tensor(source), torch.tensor(target), tgt_mask=later)
    assert_close(px.jit(lambda m, *xs: m(*xs))(model, source, target), to_numpy(want), scale=3)


def test_causal_is_about_the_target_alone():
    build = lambda **how: nn.Transformer(4, 2, encoder_layers=1, decoder_layers=1, dropout=0.0, key=0, **how)  # noqa: E731
    source, target = jnp.asarray(normal(1, 5, 4)), jnp.asarray(normal(1, 3, 4, seed=1))
    run = px.jit(lambda m, s, t: (m.encoder(s), m(s, t)))
    moved, later = source.at[0, -1].add(1.0), target.at[0, -1].add(1.0)
    for model, reaches in ((build(causal=True), False), (build(causal=False), True)):
        (memory, y), (other, _), (_, z) = (
            run(model, source, target),
            run(model, moved, target),
            run(model, source, later),
        )
        assert np.abs(other - memory)[0, 0].max() > 1e-3  # the last of the source reaches the first, always
        assert (np.abs(z - y)[0, 0].max() > 1e-3) == reaches  # the last of the target does not


def test_norms_of_ones_own_keep_what_they_are():
    layer = nn.TransformerEncoderLayer(4, 2, bias=False, norm=px.RMSNorm, eps=0.25)
    assert layer.norm1.eps == 0.25
    assert not [p for p in px.paths(layer) if p.endswith("bias")]
    layer = nn.TransformerEncoderLayer(4, 2, bias=False, norm=lambda n: px.LayerNorm(n))
    assert layer.norm1.bias is not None
    with pytest.raises(px.RangeError, match=r"TransformerDecoderLayer expects a norm that takes eps="):
        nn.TransformerDecoderLayer(4, 2, eps=0.1, norm=lambda n: px.LayerNorm(n))
    with pytest.raises(px.RangeError, match=r"a norm that is a class or function, got 'rms'\n  fix: give a class"):
        nn.Transformer(4, 2, norm="rms")


# --- norms ---------------------------------------------------------------------------------------------------


def test_layer_norm_without_a_bias_is_pytorchs():
    torch = oracle("torch")
    x, ours = normal(3, 5), px.LayerNorm(5, bias=False)
    ours.scale = jnp.asarray(normal(5, seed=1))
    twin = given(ours, torch.nn.LayerNorm(5, bias=False))
    assert list(px.paths(ours)) == ["scale"]
    assert_close(ours(x), to_numpy(twin(torch.tensor(x))))


@pytest.mark.parametrize("build", [nn.BatchNorm, nn.InstanceNorm, lambda n, **how: nn.GroupNorm(n, 2, **how)])
def test_other_norms_lose_their_bias_alone(build):
    norm, whole = build(4, bias=False, affine=True), build(4, affine=True)
    norm.scale = whole.scale = jnp.asarray(normal(4))
    assert norm.bias is None
    assert norm.scale.shape == (4,)
    x = jnp.asarray(normal(2, 3, 4, seed=1))
    np.testing.assert_array_equal(px.trainmode(norm)(x), px.trainmode(whole)(x))
    assert build(4, affine=False).scale is None
    assert build(4, affine=False).bias is None


def test_momentum_none_is_pytorchs_cumulative_mean():
    torch = oracle("torch")
    ours, twin = px.BatchNorm(3, momentum=None), torch.nn.BatchNorm1d(3, momentum=None)

    @px.jit
    def step(model, x):
        with px.training(True):
            return model(x)

    for t in range(4):
        x = normal(5, 3, seed=t) * (t + 1) + t
        assert_close(step(ours, x), to_numpy(twin.train()(torch.tensor(x))), scale=3)
        assert int(ours.count) == t + 1 == int(twin.num_batches_tracked)
        assert_close(ours.mean, to_numpy(twin.running_mean), what=f"mean after {t + 1}")
        assert_close(ours.var, to_numpy(twin.running_var), what=f"variance after {t + 1}")
        assert_close(ours(x), to_numpy(twin.eval()(torch.tensor(x))), scale=3)
    assert "count" in px.split(ours)[1]
    assert "count" not in px.paths(px.BatchNorm(3))
    twice = px.load_state_dict(px.BatchNorm(3, momentum=None), px.state_dict(ours))
    assert twice.missing == []


def test_a_gradient_moves_the_count_once_and_a_new_pass_sets_it():
    norm, x = px.BatchNorm(2, momentum=None), jnp.asarray(normal(6, 2))
    px.grad(lambda m: m(x).sum())(norm)
    assert int(norm.count) == 1
    assert_close(norm.mean, np.asarray(x).mean(0))
    px.update_batch_norm(norm, [x[:3], x[3:], x[:3]])
    assert int(norm.count) == 3
    untracked = px.BatchNorm(2, momentum=None, track=False)
    assert untracked.count is None
    assert px.trainmode(untracked)(x).shape == (6, 2)


@pytest.mark.parametrize("momentum", [1.5, "0.1", True])
def test_momentum_is_a_share(momentum):
    for build in (px.BatchNorm, px.InstanceNorm):
        with pytest.raises(px.RangeError, match=r"momentum in \[0, 1\]"):
            build(3, momentum=momentum)
    with pytest.raises(px.RangeError, match=r"InstanceNorm expects momentum in \[0, 1\], got None"):
        px.InstanceNorm(3, momentum=None)


# --- space ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(None, 7), (3, None), (None, None)])
def test_adaptive_pools_keep_an_axis(sizes):
    torch = oracle("torch")
    x = normal(2, 5, 9, 3)
    turned = torch.tensor(x).movedim(-1, 1)
    for ours, theirs, plain in (
        (nn.AdaptiveMeanPool, torch.nn.AdaptiveAvgPool2d, F.adaptive_mean_pool),
        (nn.AdaptiveMaxPool, torch.nn.AdaptiveMaxPool2d, F.adaptive_max_pool),
    ):
        want = to_numpy(theirs(sizes)(turned).movedim(1, -1))
        assert_close(ours(sizes)(x), want)
        assert_close(plain(jnp.asarray(x), sizes), want)
    line = jnp.asarray(normal(1, 4, 2))
    np.testing.assert_array_equal(nn.AdaptiveMeanPool(None)(line), line)
    np.testing.assert_array_equal(F.adaptive_mean_pool(line, None), line)
    with pytest.raises(px.RangeError, match="output_size"):
        nn.AdaptiveMaxPool((None, 0))
    with pytest.raises(px.RangeError, match="output_size"):
        F.adaptive_max_pool(line[None], (None, 0))


@pytest.mark.parametrize("size", [(9, 10), (10, 12), (9, 12)])
def test_a_transposed_convolution_reaches_a_size(size):
    torch = oracle("torch")
    x = normal(2, 5, 4, 2)
    layer = nn.ConvTranspose((3, 4), 2, 3, stride=(2, 3), padding=(1, 1), key=0)
    twin = torch.nn.ConvTranspose2d(2, 3, (3, 4), stride=(2, 3), padding=(1, 1))
    with torch.no_grad():
        twin.weight.copy_(torch.tensor(np.asarray(layer.weight)).permute(2, 3, 0, 1))
        twin.bias.zero_()
        size = size if size[1] >= 11 else (size[0], 11)
        want = twin(torch.tensor(x).movedim(-1, 1), output_size=size).movedim(1, -1)
    assert_close(px.jit(lambda m, x: m(x, output_size=size))(layer, x), to_numpy(want))
    assert layer(x, output_size=size).shape == (2, *size, 3)


def test_sizes_that_a_transposed_convolution_cannot_reach():
    layer, x = nn.ConvTranspose((3,), 1, 1, stride=2), jnp.ones((1, 4, 1))
    assert layer(x, output_size=10).shape == (1, 10, 1)
    for size in (8, 11):
        with pytest.raises(px.RangeError, match=rf"an output_size of 9 to 10 for space \(4,\), got {size}"):
            layer(x, output_size=size)
    same = nn.ConvTranspose((3,), 1, 1, stride=2, padding="SAME")
    assert same(x, output_size=8).shape == (1, 8, 1)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: px.Conv((3, 3), 1, 2, padding_mode="edge"), r'Conv expects padding_mode "zeros",.*\n.*"replicate"'),
        (lambda: px.DepthwiseConv((3,), 2, padding_mode="wrap"), r'DepthwiseConv expects padding_mode.*\n.*"circular"'),
        (lambda: px.Conv((3,), 1, 2, padding="reflect"), r"Conv expects padding \"SAME\".*\n.*padding_mode='reflect'"),
        (lambda: px.MaxPool((2,), padding="full"), r'MaxPool expects padding "SAME", "VALID", "CAUSAL" or explicit'),
        (lambda: nn.ConvTranspose((3,), 1, 2, padding="CAUSAL"), r'ConvTranspose expects padding "SAME", "VALID" or'),
        (lambda: px.Conv(3, 16, (3, 3)), r"out_channels.*got \(3, 3\)\n  fix: give one number; a kernel or window"),
    ],
)
def test_names_of_paddings_are_checked_at_construction(build, text):
    with pytest.raises(px.RangeError, match=text):
        build()


def test_names_of_paddings_in_small_letters_are_read():
    x = jnp.asarray(normal(1, 5, 2))
    assert px.Conv((3,), 2, 1, padding="same", key=0)(x).shape == (1, 5, 1)
    for mode in ("zeros", "reflect", "symmetric", "circular", "replicate"):
        assert px.Conv((3,), 2, 1, padding="SAME", padding_mode=mode, key=0)(x).shape == (1, 5, 1)


# --- embedding bags ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_offsets_with_their_end_are_pytorchs(mode):
    torch = oracle("torch")
    table, indices, offsets = normal(6, 3), np.array([1, 2, 4, 5, 4, 0]), np.array([0, 2, 2, 6])
    want = torch.nn.functional.embedding_bag(
        torch.tensor(indices), torch.tensor(table), torch.tensor(offsets), mode=mode, include_last_offset=True
    )
    bags = jax.jit(lambda i, o: F.embedding_bag(i, table, offsets=o, mode=mode, include_last_offset=True))
    assert_close(bags(jnp.asarray(indices), jnp.asarray(offsets)), to_numpy(want))
    layer = nn.EmbeddingBag.of(jnp.asarray(table), mode=mode, include_last_offset=True)
    assert_close(layer(jnp.asarray(indices), jnp.asarray(offsets)), to_numpy(want))


def test_offsets_without_their_end_are_refused():
    table, indices = jnp.ones((3, 2)), jnp.array([0, 1, 2])
    with pytest.raises(px.RangeError, match="a last offset of 3, got 2"):
        F.embedding_bag(indices, table, offsets=jnp.array([0, 2]), include_last_offset=True)
    with pytest.raises(
        px.ShapeError, match=r"offsets of shape \(bags \+ 1,\) with include_last_offset, got no offsets"
    ):
        F.embedding_bag(indices, table, include_last_offset=True)
