"""Channels, neurons, heads and layers removed: the smaller model computes what the zeroed one does, in every family."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype("f")


def sizes(model):
    return {path: array.shape for path, array in px.state_dict(model).items()}


def numbers(model):
    return sum(array.size for array in px.state_dict(model).values())


def stirred(model):
    """With norms that do something: no scale of one, no mean of zero."""
    for path, array in px.state_dict(model).items():
        end = path.rpartition(".")[2]
        if end in ("scale", "bias", "mean", "var"):
            draw = normal(*array.shape)
            px.set_at(model, path, jnp.asarray(1 + 0.3 * np.abs(draw) if end in ("scale", "var") else 0.3 * draw))
    return model


def zeroed(model, **gone):
    """The model with zeros in the named arrays: along an axis, at some indices."""
    model = px.copy(model)
    for path, (axis, at) in gone.items():
        path = path.replace("__", ".")
        array = np.array(px.at(model, path))
        array[(slice(None),) * axis + (at,)] = 0
        px.set_at(model, path, jnp.asarray(array))
    return model


def same(small, masked, *x):
    ours, wanted = np.asarray(small(*x), np.float64), np.asarray(masked(*x), np.float64)
    assert np.abs(wanted).max() > 1e-3
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-6 * max(1, np.abs(wanted).max()))


# --- by hand: the arrays that must go, named one by one ------------------------------------------------


def test_a_neuron_goes_with_its_bias_and_its_row():
    model = px.Chain(px.Dense(4, 6, px.relu, key=0), px.Dense(6, 3, key=1))
    px.set_at(model, "layers.0.bias", jnp.asarray(normal(6)))
    x = normal(5, 4)
    small = px.compress.remove_units(model, {"layers.0": [1, 4]}, x)
    assert sizes(small) == {
        "layers.0.weight": (4, 4), "layers.0.bias": (4,), "layers.1.weight": (4, 3), "layers.1.bias": (3,),
    }  # fmt: skip
    assert (small[0].out_size, small[1].in_size) == (4, 4)
    kept = np.array([0, 2, 3, 5])
    assert np.array_equal(small[0].weight, model[0].weight[:, kept])
    assert np.array_equal(small[1].weight, model[1].weight[kept])
    same(small, zeroed(model, layers__1__weight=(0, [1, 4])), x)


@pytest.mark.soak
def test_a_mask_is_cut_with_its_weight():
    model = px.compress.prune(px.Chain(px.Dense(4, 6, px.relu, key=0), px.Dense(6, 3, key=1)), 0.3)
    x = normal(5, 4)
    small = px.compress.remove_units(model, {"layers.0": [1, 4]}, x)
    kept = np.array([0, 2, 3, 5])
    assert np.array_equal(small[0].weight_mask, model[0].weight_mask[:, kept])
    assert np.array_equal(small[1].weight, model[1].weight[kept])
    same(small, zeroed(model, layers__1__weight=(0, [1, 4])), x)


def test_a_channel_goes_with_its_norm_its_depthwise_kernel_and_all_places_it_is_laid_at():
    model = stirred(px.Chain(
        px.Conv((3, 3), 2, 6, key=0), px.BatchNorm(6, px.sigmoid), px.nn.DepthwiseConv((3, 3), 6, key=1),
        px.MaxPool((2, 2)), px.flatten, px.Dense(24, 3, key=2),
    ))  # fmt: skip
    x = normal(2, 8, 8, 2)
    small = px.compress.remove_units(model, {"layers.0": [1, 2]}, x)
    assert small[5].weight.shape == (16, 3)
    assert (small[1].channels, small[2].channels, small[2].multiplier) == (4, 4, 1)
    rows = [i for i in range(24) if i % 6 in (1, 2)]
    same(small, zeroed(model, layers__5__weight=(0, rows)), x)


def test_channels_that_are_added_go_together_and_those_side_by_side_by_themselves():
    class Net(px.Module):
        def __init__(self):
            self.a, self.b = px.Dense(3, 4, px.tanh, key=0), px.Dense(3, 4, px.tanh, key=1)
            self.c = px.Dense(3, 5, px.tanh, key=2)
            self.out = px.Dense(9, 2, key=3)

        def __call__(self, x):
            return self.out(jnp.concatenate([self.a(x) + self.b(x), self.c(x)], -1))

    model, x = Net(), normal(6, 3)
    families = {one.layers: one.count for one in px.compress.units(model, x)}
    assert families == {("a", "b"): 4, ("c",): 5}
    small = px.compress.remove_units(model, {"b": [1], "c": [0, 4]}, x)
    assert sizes(small)["out.weight"] == (6, 2)
    assert sizes(small)["a.weight"] == sizes(small)["b.weight"] == (3, 3)
    same(small, zeroed(model, out__weight=(0, [1, 4, 8])), x)


def test_a_group_goes_as_a_whole():
    model = stirred(px.Chain(
        px.Conv((1, 1), 3, 8, key=0), px.GroupNorm(8, 4, px.relu), px.Conv((3, 3), 8, 12, groups=2, key=1),
        px.GlobalMeanPool(), px.flatten, px.Dense(12, 2, key=2),
    ))  # fmt: skip
    x = normal(2, 5, 5, 3)
    assert [one.count for one in px.compress.units(model, x)] == [2]
    small = px.compress.remove_units(model, {"layers.0": [0]}, x)
    assert (small[1].channels, small[1].groups) == (4, 2)
    assert (small[2].in_channels, small[2].out_channels, small[2].groups) == (4, 6, 1)
    same(small, zeroed(model, layers__5__weight=(0, range(6))), x)


def test_a_group_of_a_convolution_written_by_hand_goes_as_a_whole():
    class Own(px.Module):
        def __init__(self):
            self.weight = jnp.asarray(normal(3, 2, 6))

        def __call__(self, x):
            sides = ("NWC", "WIO", "NWC")
            return jax.lax.conv_general_dilated(
                x, self.weight, (1,), "SAME", dimension_numbers=sides, feature_group_count=x.shape[-1] // 2
            )

    model, x = px.Chain(px.Dense(3, 4, px.tanh, key=0), Own(), px.sigmoid, px.Dense(6, 2, key=1)), normal(2, 5, 3)
    assert [(one.layers, one.count) for one in px.compress.units(model, x)] == [(("layers.0", "layers.1"), 2)]
    small = px.compress.remove_units(model, {"layers.0": [0]}, x)
    assert sizes(small)["layers.1.weight"] == (3, 2, 3)
    same(small, zeroed(model, layers__3__weight=(0, [0, 1, 2])), x)


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_a_head_goes_with_its_queries_keys_and_values_and_those_that_share_them(kv_heads):
    class Net(px.Module):
        def __init__(self):
            positions = px.nn.RotaryEmbedding(4)
            self.attention = px.nn.MultiHeadAttention(12, 4, kv_heads=kv_heads, head_dim=4, positions=positions, key=0)

        def __call__(self, x):
            return x + self.attention(x)

    model, x = stirred(Net()), normal(2, 5, 12)
    small = px.compress.remove_units(model, {"attention.q_proj": [1]}, x)
    each = 4 // kv_heads  # heads of queries that go with one of keys
    assert (small.attention.heads, small.attention.kv_heads) == (4 - each, kv_heads - 1)
    assert (small.attention.head_dim, small.attention.dim) == (4, 12)
    rows = range(4 * each, 8 * each)
    same(small, zeroed(model, attention__out_proj__weight=(0, list(rows))), x)


def test_what_goes_round_in_a_loop_is_what_comes_in():
    model = px.Chain(px.Dense(3, 6, key=0), px.RepeatedLayer(lambda: px.Dense(6, 6, px.tanh), 3, key=1), px.Dense(6, 2))
    found = px.compress.units(model, normal(4, 3))
    assert [(one.layers, one.count) for one in found] == [(("layers.0", "layers.1.block"), 6)]


def test_stacked_layers_lose_the_same_units():
    block = lambda: px.SkipConnection(px.Chain(px.Dense(6, 8, px.tanh), px.Dense(8, 6)), jnp.add)  # noqa: E731
    model = stirred(px.Chain(px.Dense(3, 6, key=0), px.RepeatedLayer(block, 3, key=1), px.Dense(6, 2, key=2)))
    x = normal(4, 3)
    small = px.compress.remove_units(model, {"layers.1.block.layer.layers.0": [0, 5], "layers.0": [3]}, x)
    assert sizes(small)["layers.1.block.layer.layers.0.weight"] == (3, 5, 6)
    masked = zeroed(
        model, layers__1__block__layer__layers__1__weight=(1, [0, 5]), layers__2__weight=(0, [3]),
        layers__1__block__layer__layers__0__weight=(1, [3]),
    )  # fmt: skip
    same(small, masked, x)


# --- which go ------------------------------------------------------------------------------------------


def test_channels_of_the_smallest_norm_go_as_in_pytorch():
    prune, torch = oracle("torch.nn.utils.prune"), oracle("torch")
    model = px.Chain(px.Conv((3, 3), 2, 10, px.relu, key=0), px.flatten, px.Dense(90, 3, key=1))
    theirs = torch.nn.Module()
    theirs.weight = torch.nn.Parameter(torch.tensor(np.asarray(model[0].weight)))
    prune.ln_structured(theirs, "weight", amount=0.4, n=2, dim=3)
    kept = theirs.weight_mask.numpy()[0, 0, 0].astype(bool)
    small = px.compress.shrink(model, 0.4, normal(1, 5, 5, 2))
    assert np.array_equal(small[0].weight, np.asarray(model[0].weight)[..., kept])


def test_shares_of_each_family_or_of_all_and_one_stays():
    model = px.Chain(px.Dense(3, 10, px.tanh, key=0), px.Dense(10, 20, px.tanh, key=1), px.Dense(20, 2, key=2))
    x = normal(1, 3)
    assert [one.out_size for one in px.compress.shrink(model, 0.4, x)] == [6, 12, 2]
    assert [one.out_size for one in px.compress.shrink(model, 0.99, x)] == [1, 1, 2]
    small = px.compress.shrink(model, 0.4, x, scope="global")
    assert small[0].out_size + small[1].out_size == 18
    squares = [np.square(np.asarray(one.weight)).mean(0) for one in model[:2]]
    limit = np.sort(np.concatenate(squares))[11]
    assert [one.out_size for one in small[:2]] == [int((s > limit).sum()) for s in squares]
    assert [one.out_size for one in px.compress.shrink(model, 0.5, x, where="layers.1")] == [10, 10, 2]
    assert [one.out_size for one in px.compress.shrink(model, 0.5, x, skip="layers.1")] == [5, 20, 2]
    given = {"layers.0": np.arange(10.0)[::-1], "layers.1": np.ones(20)}
    assert np.array_equal(px.compress.shrink(model, 0.3, x, by=given)[0].weight, model[0].weight[:, :7])
    a, b = (px.compress.shrink(model, 0.5, x, by="random", key=key)[0].weight for key in (0, 2))
    assert not np.array_equal(a, b)


# --- families of px.models -----------------------------------------------------------------------------


def resnet():
    config = px.models.ResNetConfig(
        embedding_size=8, hidden_sizes=(16, 32), depths=(2, 1), layer_type="bottleneck", classes=5
    )
    return px.models.create(config, key=0), normal(2, 32, 32, 3)


def mobilenet():
    return px.models.create("mobilenet_v3_small", classes=5, key=0), normal(1, 64, 64, 3)


def vit():
    config = px.models.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24, image_size=32, classes=5
    )
    return px.models.create(config, key=0), normal(1, 32, 32, 3)


def gpt2():
    config = px.models.GPT2Config(vocab_size=50, n_positions=8, n_embd=16, n_layer=2, n_head=4)
    return px.models.create(config, key=0), RNG.integers(0, 50, (2, 6))


def llama():
    config = px.models.LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8,
    )  # fmt: skip
    return px.models.create(config, key=0), RNG.integers(0, 50, (2, 6))


def bert():
    config = px.models.BERTConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24,
        task="text-classification", classes=3,
    )  # fmt: skip
    return px.models.create(config, key=0), RNG.integers(0, 50, (2, 6))


def longer(*case):
    return pytest.param(*case, marks=pytest.mark.soak)


@pytest.mark.parametrize(
    ("make", "layers", "count"),
    [
        longer(resnet, {"stem.conv", "stages.0.1.layers.2.conv", "stages.1.0.layers.1.conv"}, 8),
        longer(mobilenet, {"stages.1.0.expand.conv", "stages.0.0.excite.reduce"}, 25),
        longer(vit, {"blocks.1.attention.q_proj", "blocks.0.mlp.layers.0"}, 4),
        longer(gpt2, {"blocks.1.attention.v_proj", "blocks.0.mlp.layers.0"}, 4),
        (llama, {"blocks.1.attention.k_proj", "blocks.0.mlp.gate", "blocks.0.mlp.up"}, 4),
        longer(bert, {"blocks.1.attention.k_proj", "blocks.0.mlp.layers.0"}, 4),
    ],
)
def test_a_family_of_models_computes_with_half_of_its_units_what_it_does_with_zeros(make, layers, count, tmp_path):
    model, x = make()
    model = stirred(model)
    families = px.compress.units(model, x)
    assert layers <= {layer for family in families for layer in family.layers}
    assert len(families) >= count
    small = px.compress.shrink(model, 0.5, x)
    masked = px.copy(model)
    given = {
        path: np.array(a) for path, a in px.state_dict(model).items() if path.endswith(("weight", "bias", "scale"))
    }
    arrays = {path: array.copy() for path, array in given.items()}
    for family in families:  # statistics of norms stay: what takes a channel up is zero
        scores = sum(_squares(given, family, layer) for layer in family.layers)
        for unit in np.argsort(scores)[: round(family.count / 2)]:
            for index in family.sets[unit]:
                if index.path in arrays:
                    arrays[index.path][(slice(None),) * index.axis + (index.at,)] = 0
    for path, array in arrays.items():
        px.set_at(masked, path, jnp.asarray(array))
    same(px.jit(lambda x: px.constant(small)(x)), px.jit(lambda x: px.constant(masked)(x)), x)
    assert numbers(small) < numbers(model)
    px.save(small, tmp_path / "small.phlox")
    assert np.array_equal(px.load(tmp_path / "small.phlox")(x), small(x))


def _squares(arrays, family, layer):
    weight = np.square(arrays[f"{layer}.weight"].astype(np.float64))
    by_output = weight.reshape(-1, weight.shape[-1]).sum(0)
    of = [
        [i.at for i in unit if i.path == f"{layer}.weight" and i.axis == weight.ndim - 1] for unit in family.sets
    ]  # fmt: skip
    return np.array([by_output[at].sum() for at in of])


@pytest.mark.soak
def test_a_smaller_language_model_writes_as_it_computes():
    model, x = llama()
    small = px.compress.shrink(model, 0.5, x)
    written = px.generate(small, x[:1, :3], max_new=4)
    tokens = np.concatenate([x[0, :3], written.tokens[0]])
    for end in range(3, len(tokens)):
        assert int(small(tokens[None, :end])[0, -1].argmax()) == tokens[end]


# --- whole layers --------------------------------------------------------------------------------------


def test_blocks_that_are_dropped_are_blocks_that_add_nothing(tmp_path):
    model, x = gpt2()
    small = px.compress.drop_layers(model, "blocks.0", x)
    assert len(small.blocks) == 1
    assert len(model.blocks) == 2
    masked = zeroed(
        model, **{f"blocks.0.{name}.{kind}".replace(".", "__"): (0, slice(None)) for kind in ("weight", "bias")
                  for name in ("attention.out_proj", "mlp.layers.1")}
    )  # fmt: skip
    same(small, masked, x)
    px.save(small, tmp_path / "small.phlox")
    assert np.array_equal(px.load(tmp_path / "small.phlox")(x), small(x))


def test_rounds_and_layers_of_chains_are_dropped():
    block = lambda: px.SkipConnection(px.Dense(4, 4, px.tanh), jnp.add)  # noqa: E731
    model = px.Chain(first=px.Dense(3, 4, key=0), trunk=px.RepeatedLayer(block, 4, key=1), last=px.Dense(4, 4, key=2))
    x = normal(2, 3)
    small = px.compress.drop_layers(model, ["layers.trunk.1", "layers.trunk.3", "layers.last"], x)
    assert len(small.layers["trunk"]) == 2
    assert list(small.layers) == ["first", "trunk"]
    h = model.layers["first"](x)
    np.testing.assert_allclose(small(x), model.layers["trunk"][2](model.layers["trunk"][0](h)), atol=1e-6)


# --- mistakes ------------------------------------------------------------------------------------------


def error(call, kind=px.RangeError):
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert re.search(r"expects .*got .*\n +fix: ", text, re.S), text
    return text


def test_what_has_to_stay_is_told_with_its_reason():
    class Odd(px.Module):
        def __init__(self):
            self.a, self.b = px.Dense(3, 4, key=0), px.Dense(4, 5, px.tanh, key=1)
            self.c = px.Dense(5, 2, key=2)

        def __call__(self, x):
            return self.c(self.b(jnp.cumsum(self.a(x), -1)))

    model, x = Odd(), normal(2, 3)
    assert [one.layers for one in px.compress.units(model, x)] == [("b",)]
    assert "'a', whose outputs stay: cumsum in the model itself" in error(
        lambda: px.compress.shrink(model, 0.5, x, where="a")
    )
    assert "'c', whose outputs stay: the model's results" in error(
        lambda: px.compress.remove_units(model, {"c": [0]}, x)
    )
    norm = px.Chain(px.Dense(3, 4), px.LayerNorm(4), px.Dense(4, 2))
    assert "something can be removed" in error(lambda: px.compress.shrink(norm, 0.5, x), px.StructureError)


def test_a_model_with_sizes_of_its_own_is_refused_and_not_made_wrong():
    class Heads(px.Module):
        def __init__(self):
            self.heads = 4
            self.q, self.k, self.v = (px.Dense(6, 16, key=i) for i in range(3))
            self.out = px.Dense(16, 6, key=3)

        def __call__(self, x):
            q, k, v = (one(x).reshape(*x.shape[:2], self.heads, -1) for one in (self.q, self.k, self.v))
            y = px.nn.functional.dot_product_attention(q, k, v)
            return self.out(y.reshape(*x.shape[:2], -1))

    text = error(lambda: px.compress.remove_units(Heads(), {"q": [0, 1]}, normal(2, 3, 6)), px.StructureError)
    assert "results that differ" in text
    assert "smaller arrays" in text


def test_other_mistakes():
    model, x = px.Chain(px.Dense(3, 4, px.relu, key=0), px.Dense(4, 2, key=1)), normal(2, 3)
    for share in (-0.1, 1.0, True):
        assert "a share in [0, 1)" in error(lambda share=share: px.compress.shrink(model, share, x))
    assert "layers.9" in error(lambda: px.compress.shrink(model, 0.5, x, where="layers.9"))
    assert 'by="magnitude"' in error(lambda: px.compress.shrink(model, 0.5, x, by="size"))
    assert 'scope="global"' in error(lambda: px.compress.shrink(model, 0.5, x, scope="all"))
    assert "none for layers.0" in error(lambda: px.compress.shrink(model, 0.5, x, by={}))
    assert "got NaN" in error(lambda: px.compress.shrink(model, 0.5, x, by={"layers.0": [1, 2, 3, float("nan")]}))
    assert "scores (4,)" in error(lambda: px.compress.shrink(model, 0.5, x, by={"layers.0": [1, 2]}), px.ShapeError)
    assert "skip fewer" in error(lambda: px.compress.shrink(model, 0.5, x, skip="**"), px.StructureError)
    for wrong in (4, -1, 1.5, True):
        assert f"from 0 to 3, got {wrong}" in error(
            lambda wrong=wrong: px.compress.remove_units(model, {"layers.0": [wrong]}, x)
        )
    assert "that stays, got all 4" in error(lambda: px.compress.remove_units(model, {"layers.0": range(4)}, x))
    assert "layers.9" in error(lambda: px.compress.drop_layers(model, "layers.9", x))
    assert "Dense" in error(lambda: px.compress.drop_layers(model, "layers.0", x), px.StructureError)
    assert "that stays, got all 2" in error(lambda: px.compress.drop_layers(model, "layers.*", x), px.StructureError)
    square = px.Chain(px.Dense(3, 3), px.Dense(3, 2))
    assert "float32[2, 3]" in error(lambda: px.compress.drop_layers(square, "layers.1", x), px.StructureError)
