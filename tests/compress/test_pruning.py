"""Masks on weights: which numbers they leave out, beside PyTorch's and by hand, and that they stay left out."""

import copy
import pickle
import re

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype("f")


def network():
    return px.Chain(
        px.Conv((3, 3), 4, 8, px.relu, key=0), px.DepthwiseConv((2, 2), 8, key=1), px.flatten, px.Dense(32, 5, key=2)
    )  # fmt: skip


def masks(model):
    return {path: np.asarray(a) for path, a in px.state_dict(model).items() if path.endswith("_mask")}


def gone(model):
    return sum((~mask).sum() for mask in masks(model).values())


# --- which numbers -----------------------------------------------------------------------------------


def in_torch(model):
    """The same weights in modules of PyTorch, by path."""
    torch = oracle("torch")
    found = {}
    for path, layer in px.modules(model).items():
        if hasattr(layer, "weight"):
            found[path] = torch.nn.Module()
            found[path].weight = torch.nn.Parameter(torch.tensor(np.asarray(layer.weight)))
    return found


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 0.8, 0.999])
def test_magnitudes_of_all_layers_together_leave_out_what_pytorch_leaves_out(share):
    prune = oracle("torch.nn.utils.prune")
    model = network()
    theirs = in_torch(model)
    prune.global_unstructured(
        [(one, "weight") for one in theirs.values()], pruning_method=prune.L1Unstructured, amount=share
    )
    ours = px.compress.prune(model, share)
    for path, one in theirs.items():
        assert np.array_equal(px.at(ours, path).weight_mask, one.weight_mask.numpy().astype(bool)), path
        assert np.array_equal(px.at(ours, path).weight, one.weight.detach().numpy()), path


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 0.8])
def test_magnitudes_of_each_layer_leave_out_what_pytorch_leaves_out(share):
    prune = oracle("torch.nn.utils.prune")
    model = network()
    ours = px.compress.prune(model, share, scope="layer")
    for path, one in in_torch(model).items():
        prune.l1_unstructured(one, "weight", amount=share)
        assert np.array_equal(px.at(ours, path).weight_mask, one.weight_mask.numpy().astype(bool)), path


@pytest.mark.parametrize("by", ["magnitude", "random"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_exactly_the_wanted_share_is_left_out(by, scope):
    model = network()
    sizes = [layer.weight.size for layer in px.modules(model).values() if hasattr(layer, "weight")]
    for share in (0, 0.001, 0.25, 0.5, 0.77, 0.999):
        pruned = px.compress.prune(model, share, by=by, scope=scope, key=3)
        wanted = round(share * sum(sizes)) if scope == "global" else sum(round(share * size) for size in sizes)
        assert gone(pruned) == wanted


def test_of_equal_numbers_the_first_go_and_no_more_than_are_wanted():
    pruned = px.compress.prune(px.Chain(px.Dense.of(jnp.ones((3, 3))), px.Dense.of(jnp.ones((3, 1)))), 0.35)
    assert pruned[0].weight.tolist() == [[0, 0, 0], [0, 1, 1], [1, 1, 1]]
    assert pruned[1].weight.tolist() == [[1], [1], [1]]


def test_what_is_random_is_told_by_the_key_and_spread_evenly():
    model = px.Chain(px.Dense(100, 100, key=0))
    a, b, c = (px.compress.prune(model, 0.3, by="random", key=key) for key in (1, 1, 2))
    assert np.array_equal(a[0].weight_mask, b[0].weight_mask)
    assert 0.2 < (a[0].weight_mask != c[0].weight_mask).mean() < 0.6  # 0.42 by chance
    by_magnitude = np.abs(np.asarray(model[0].weight))
    kept = by_magnitude[np.asarray(a[0].weight_mask)].mean()
    assert abs(kept / by_magnitude.mean() - 1) < 0.03  # large ones go as small ones do
    twins = px.compress.prune(px.Chain(px.Dense(8, 8), px.Dense(8, 8)), 0.5, by="random", key=1)
    assert not np.array_equal(twins[0].weight_mask, twins[1].weight_mask)


def test_scores_of_ones_own():
    model = px.Chain(px.Dense.of(jnp.array([[1.0, 2.0], [3.0, 4.0]])))
    scores = {"layers.0.weight": np.array([[4, 3], [2, 1]])}
    assert px.compress.prune(model, 0.5, by=scores)[0].weight.tolist() == [[1, 2], [0, 0]]


def test_what_was_left_out_counts_and_stays_left_out():
    model = network()
    once = px.compress.prune(model, 0.4, by="random", key=0)
    twice = px.compress.prune(once, 0.6, by="random", key=1)
    total = sum(mask.size for mask in masks(model).values()) or sum(mask.size for mask in masks(once).values())
    assert gone(twice) == round(0.6 * total)
    for path, mask in masks(once).items():
        assert not (masks(twice)[path] & ~mask).any(), path
    assert gone(once) == round(0.4 * total)  # the model that was given stays as it was


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "3:4", "1:2"])
def test_a_pattern_keeps_the_largest_of_each_group_that_an_output_sums_over(pattern):
    keep, group = map(int, pattern.split(":"))
    model = px.Chain(px.Dense(8, 3, key=0), px.Conv((2, 2), 4, 5, key=1), px.Embedding(5, 8, key=2))
    pruned = px.compress.prune(model, pattern=pattern)
    for layer, axis in zip(pruned, (0, 2, 1), strict=True):
        rows = np.moveaxis(np.asarray(vars(model[list(pruned).index(layer)])["weight"]), axis, -1)
        kept = np.moveaxis(np.asarray(layer.weight_mask), axis, -1)
        for row, mask in zip(rows.reshape(-1, group), kept.reshape(-1, group), strict=True):
            assert set(np.flatnonzero(mask)) == set(np.argsort(np.abs(row))[-keep:])


def test_stacked_layers_each_give_up_the_same_share():
    model = px.RepeatedLayer(lambda: px.Dense(5, 5), 3)
    scaled = px.map(lambda w: w * jnp.arange(1.0, 4.0).reshape(3, *[1] * (w.ndim - 1)), model)
    pruned = px.compress.prune(scaled, 0.4, scope="layer")
    for t in range(3):
        one = px.compress.prune(scaled[t], 0.4)
        assert np.array_equal(pruned.block.weight_mask[t], one.weight_mask)
    x = normal(2, 5)
    assert_close(pruned(x), np.asarray(px.compress.remove_masks(pruned)(x)))


def test_layers_are_chosen_and_left():
    model = network()
    pruned = px.compress.prune(model, 0.5, where=["layers.0", "layers.3"], skip="layers.3")
    assert list(masks(pruned)) == ["layers.0.weight_mask"]
    assert type(pruned[3]) is px.Dense


@pytest.mark.parametrize(
    "make",
    [px.nn.LSTM, pytest.param(px.nn.RNN, marks=pytest.mark.soak), pytest.param(px.nn.GRU, marks=pytest.mark.soak)],
)
def test_recurrent_layers_compute_with_what_is_left(make):
    model = make(4, 6, bidirectional=True, key=0)
    pruned = px.compress.prune(model, 0.7)
    assert gone(pruned) == round(0.7 * sum(mask.size for mask in masks(pruned).values()))
    zeroed = copy.deepcopy(model)
    for ours, cell in zip(pruned.cells, zeroed.cells, strict=True):
        for name in ("weight_ih", "weight_hh"):
            setattr(cell, name, getattr(cell, name) * getattr(ours, name + "_mask"))
    x = normal(2, 3, 4)
    assert_close(pruned(x), np.asarray(zeroed(x)))
    assert np.abs(np.asarray(pruned(x)) - np.asarray(model(x))).max() > 0.01


def test_a_projection_is_pruned_too():
    cell = px.compress.prune(px.nn.LSTMCell(3, 6, proj_size=2, key=0), 0.5, scope="layer")
    assert {path: mask.mean() for path, mask in masks(cell).items()} == {
        "weight_ih_mask": 0.5, "weight_hh_mask": 0.5, "weight_hr_mask": 0.5,
    }  # fmt: skip


def test_attention_is_pruned_through_its_maps():
    model = px.nn.MultiHeadAttention(8, 2, key=0)
    pruned, x = px.compress.prune(model, 0.5), normal(2, 3, 8)
    assert sorted(masks(pruned)) == sorted(f"{n}_proj.weight_mask" for n in ("q", "k", "v", "out"))
    assert_close(pruned(x), np.asarray(px.compress.remove_masks(pruned)(x)))


# --- what stays left out -----------------------------------------------------------------------------


def data(count=64):
    x = RNG.normal(size=(count, 6)).astype("f")
    return x, np.sin(x.sum(1, keepdims=True)).astype("f")


def small(key=0):
    return px.Chain(px.Dense(6, 16, px.tanh, key=key), px.Dense(16, 1, key=key + 1))


OPTIONS = {"loss": px.losses.mse, "progress": False, "batch_size": 16, "seed": 0}


@pytest.mark.parametrize(
    "rule", [px.optim.AdamW(1e-2, weight_decay=0.1), pytest.param(px.optim.Momentum(0.1), marks=pytest.mark.soak)]
)
def test_training_moves_what_is_left_and_nothing_else(rule):
    model = px.compress.prune(small(), 0.5, scope="layer")
    before = {path: np.asarray(px.at(model, path)) for path in ("layers.0.weight", "layers.1.weight")}
    held = masks(model)
    leads_on = {"layers.0.weight": held["layers.1.weight_mask"][:, 0], "layers.1.weight": True}
    px.fit(model, data(), optimizer=rule, epochs=2, **OPTIONS)
    for path, was in before.items():
        now, mask = np.asarray(px.at(model, path)), held[path + "_mask"]
        assert (now[~mask] == 0).all()
        assert (now != was)[mask & leads_on[path]].all()
        assert np.array_equal(masks(model)[path + "_mask"], mask)


def test_a_gradient_reaches_what_is_left_alone():
    model = px.compress.prune(px.Chain(px.Dense.of(jnp.array([[1.0], [-2.0]]), None)), 0.5)
    x = jnp.array([3.0, 5.0])
    grads = px.grad(lambda m: (m(x) ** 2).sum())(model)
    assert vars(grads[0])["weight"].tolist() == [[0], [2 * -10 * 5]]
    assert px.split(model)[0].keys() == {"layers.0.weight"}


def test_files_pickles_copies_and_other_dtypes_keep_masks(tmp_path):
    model, x = px.compress.prune(network(), 0.6), normal(2, 5, 5, 4)
    px.save(model, tmp_path / "model.phlox")
    for again in (px.load(tmp_path / "model.phlox"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert type(again[0]) is px.compress.MaskedConv
        assert all(np.array_equal(masks(again)[path], mask) for path, mask in masks(model).items())
        assert np.array_equal(again(x), model(x))
    half = px.bf16(model)
    assert half[0].weight.dtype == jnp.bfloat16
    assert half[0].weight_mask.dtype == bool
    assert ((np.asarray(half[0].weight) == 0) == (np.asarray(model[0].weight) == 0)).all()
    assert_close(half(x.astype(jnp.bfloat16)), np.asarray(model(x)), scale=2)  # two products one after the other


def test_exports_hold_the_zeros(tmp_path):
    onnx = oracle("onnx")
    model, x = px.compress.prune(small(), 0.75), normal(4, 6)
    px.export(model, tmp_path / "out", inputs={"x": px.Spec("batch", 6)}, to=["stablehlo", "onnx"])
    assert_close(px.load_exported(tmp_path / "out")(x), np.asarray(model(x)))
    graph = onnx.load(tmp_path / "out" / "model.onnx").graph
    weights = [a for a in map(onnx.numpy_helper.to_array, graph.initializer) if a.ndim == 2]
    assert sorted(w.size for w in weights) == [16, 96]
    assert sum((w == 0).sum() for w in weights) == gone(model) == 84


def test_without_masks_the_model_is_the_same_and_its_zeros_stay_in_integers():
    model, x = px.compress.prune(network(), 0.6), normal(2, 5, 5, 4)
    plain = px.compress.remove_masks(model)
    assert [type(layer) for layer in plain if isinstance(layer, px.Module)] == [px.Conv, px.nn.DepthwiseConv, px.Dense]
    assert not masks(plain)
    assert px.state_dict(plain).keys() == px.state_dict(network()).keys()
    assert np.array_equal(plain(x), model(x))
    assert px.compress.sparsity(plain).share == px.compress.sparsity(model).share
    for path, layer in px.modules(px.compress.quantize(plain)).items():
        if hasattr(layer, "codes"):
            assert (np.asarray(layer.weight)[~masks(model)[path + ".weight_mask"]] == 0).all()


def test_how_much_is_zero_is_told_by_weight():
    model = px.compress.prune(px.Chain(px.Dense(4, 5, key=0), px.Dense(5, 2, key=1)), 0.5, where="layers.0")
    found = px.compress.sparsity(model)
    assert found.shares == {"layers.0.weight": 0.5, "layers.1.weight": 0.0}
    assert found.share == pytest.approx(10 / 30)
    assert str(found).splitlines()[1].split() == ["layers.0.weight", "20", "50.0%"]
    assert str(found).splitlines()[-1].split() == ["all", "30", "33.3%"]


# --- mistakes ----------------------------------------------------------------------------------------


def error(call, kind=px.RangeError):
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert re.search(r"expects .*got .*", text, re.S), text
    return text


@pytest.mark.parametrize("share", [-0.1, 1, 1.0, 1.5, float("nan"), True, "0.5"])
def test_a_share_outside_its_range(share):
    text = error(lambda: px.compress.prune(small(), share))
    assert "a share in [0, 1)" in text
    assert repr(share) in text
    assert "0.8 leaves a fifth" in text


def test_other_mistakes():
    model = small()
    assert '"**.1"' in error(lambda: px.compress.prune(model, 0.5, where="layers.7"))
    assert "'layers.9'" in error(lambda: px.compress.prune(model, 0.5, skip="layers.9"))
    assert "px.compress.Pruning" in error(lambda: px.compress.prune(model, 0.5, by="movement"))
    assert 'scope="layer"' in error(lambda: px.compress.prune(model, 0.5, scope="local"))
    assert "both" in error(lambda: px.compress.prune(model, 0.5, pattern="2:4"))
    assert "neither" in error(lambda: px.compress.prune(model))
    for pattern in ("4:2", "0:4", "2-4", 24):
        assert repr(pattern) in error(lambda pattern=pattern: px.compress.prune(model, pattern=pattern))
    text = error(lambda: px.compress.prune(model, pattern="2:4"), px.ShapeError)
    assert "layers.0.weight" in text
    assert 'skip="layers.0"' in text
    assert "none for layers.1.weight" in error(
        lambda: px.compress.prune(model, 0.5, by={"layers.0.weight": jnp.ones((6, 16))})
    )
    scores = {"layers.0.weight": jnp.ones((6, 16)), "layers.1.weight": jnp.full((16, 1), jnp.nan)}
    assert "NaN for layers.1.weight" in error(lambda: px.compress.prune(model, 0.5, by=scores))
    scores["layers.1.weight"] = jnp.ones(16)
    assert "(16, 1)" in error(lambda: px.compress.prune(model, 0.5, by=scores), px.ShapeError)
    pruned = px.compress.prune(model, 0.5)
    text = error(lambda: px.compress.prune(pruned, 0.2))
    assert "0.5, which the model leaves out already" in text
    assert "remove_masks" in text
    assert "layers.0 leaves out" in error(lambda: px.compress.prune(px.compress.prune(
        model, 0.5, where="layers.0"), 0.2, scope="layer"))  # fmt: skip


def test_a_weight_that_is_not_ones_own():
    kind = px.StructureError
    tied = px.tie(px.Chain(px.Dense(3, 3), px.Dense(3, 3)), "layers.1.weight", "layers.0.weight")
    text = error(lambda: px.compress.prune(tied, 0.5), kind)
    assert "layers.0 to have a finite weight of its own" in text
    assert 'px.untie(model, "layers.0.weight")' in text
    assert "remove_weight_norm" in error(
        lambda: px.compress.prune(px.Chain(px.nn.WeightNorm(px.Dense(3, 3))), 0.5), kind
    )
    broken = px.Chain(px.Dense.of(jnp.array([[jnp.nan]])))
    assert "NaN" in error(lambda: px.compress.prune(broken, 0.5), kind)
    assert "integers" in error(lambda: px.compress.prune(px.compress.quantize(small()), 0.5), kind)
    assert "a model" in error(lambda: px.compress.prune(jnp.ones(3), 0.5), kind)
    assert "skip fewer" in error(lambda: px.compress.prune(small(), 0.5, skip="**"), kind)
