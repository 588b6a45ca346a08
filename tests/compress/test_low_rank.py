"""Weights as products of two: ranks beside SciPy's singular values, layers in two steps beside one with that weight."""

import copy
import re

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import phlox as px
from kit import assert_close

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype("f")


def decaying(rows, outs):
    """A matrix whose singular values halve."""
    u, _, v = scipy.linalg.svd(normal(rows, outs), full_matrices=False)
    return ((u * 0.5 ** np.arange(min(rows, outs))) @ v).astype("f")


def off(weight, near):
    weight, near = np.asarray(weight, np.float64), np.asarray(near, np.float64)
    return np.linalg.norm(weight - near) / np.linalg.norm(weight)


def dense(rows=12, outs=10):
    return px.Chain(px.Dense.of(jnp.asarray(decaying(rows, outs)), jnp.asarray(normal(outs)), px.tanh))


@pytest.mark.parametrize("error", [0.3, 0.1, 0.05])
def test_the_smallest_rank_within_the_error_is_taken(error):
    model = dense()
    small = px.compress.low_rank(model, error)[0]
    values = scipy.linalg.svdvals(np.asarray(model[0].weight, np.float64))
    offs = [np.sqrt((values[r:] ** 2).sum() / (values**2).sum()) for r in range(len(values))]
    assert small.rank == next(r for r, one in enumerate(offs) if one <= error)
    assert off(model[0].weight, small.weight) == pytest.approx(offs[small.rank], rel=1e-4)


def test_a_dense_in_two_steps():
    model, x = dense(), normal(5, 12)
    small = px.compress.low_rank(model, rank=3)
    assert sorted(px.state_dict(small)) == [
        "layers.0.first.weight", "layers.0.second.bias", "layers.0.second.weight",
    ]  # fmt: skip
    assert (small[0].in_size, small[0].out_size, small[0].act) == (12, 10, px.tanh)
    assert isinstance(small[0], px.Dense)
    wanted = px.Dense.of(jnp.asarray(small[0].weight), model[0].bias, px.tanh)
    assert_close(small(x), np.asarray(wanted(x)))
    near = np.linalg.norm(np.asarray(small[0].first.weight)), np.linalg.norm(np.asarray(small[0].second.weight))
    assert near[0] == pytest.approx(near[1], rel=1e-4)  # both are of one size


@pytest.mark.parametrize(
    "options",
    [{"padding": 1}, {"stride": 2, "padding": "SAME"}, {"dilation": 2}, {"padding": 2, "padding_mode": "reflect"}],
)
def test_a_convolution_in_two_steps(options):
    model = px.Chain(px.Conv((3, 3), 8, 12, px.relu, key=0, **options))
    px.set_at(model, "layers.0.bias", jnp.asarray(normal(12)))
    small, x = px.compress.low_rank(model, rank=5), normal(2, 7, 7, 8)
    assert small[0].first.weight.shape == (3, 3, 8, 5)
    assert small[0].second.weight.shape == (1, 1, 5, 12)
    assert small[0].rank == 5
    matrix = np.asarray(model[0].weight, np.float64).reshape(72, 12)
    u, s, v = scipy.linalg.svd(matrix, full_matrices=False)
    wanted = copy.deepcopy(model)
    wanted[0].weight = jnp.asarray(((u[:, :5] * s[:5]) @ v[:5]).reshape(3, 3, 8, 12).astype("f"))
    assert_close(small[0].weight, np.asarray(wanted[0].weight), scale=3)
    assert_close(small(x), np.asarray(wanted(x)), scale=3)  # two sums, one after the other


def test_an_embedding_in_two_steps_scores_too():
    model = px.Embedding.of(jnp.asarray(decaying(20, 8)), padding_idx=None)
    small, i, x = px.compress.low_rank(model, rank=2), np.array([[3, 0], [19, 7]]), normal(3, 8)
    assert (small.num, small.dim, small.rank) == (20, 8, 2)
    wanted = px.Embedding.of(small.weight)
    assert_close(small(i), np.asarray(wanted(i)))
    assert_close(small.attend(x), np.asarray(wanted.attend(x)))


def test_layers_where_two_take_as_much_room_are_left():
    model = px.Chain(px.Dense(4, 4, key=0), px.Dense(4, 40, key=1), px.Dense(40, 40, key=2), px.relu)
    small = px.compress.low_rank(model, rank=2)
    assert [type(layer).__name__ for layer in small[:3]] == ["Dense", "LowRankDense", "LowRankDense"]
    assert [px.compress.low_rank(model, rank=3, where=f"layers.{i}")[i].rank for i in (1, 2)] == [3, 3]
    with pytest.raises(px.StructureError, match=r"two take less room, got none(.|\n)*larger error"):
        px.compress.low_rank(model, rank=4, where="layers.1")


def test_stacked_blocks_have_the_rank_that_the_hardest_needs():
    weights = np.stack([decaying(12, 12), np.outer(normal(12), normal(12)).astype("f")])
    model = px.RepeatedLayer(lambda: px.Dense(12, 12, bias=False), 2)
    px.set_at(model, "block.weight", jnp.asarray(weights))
    small = px.compress.low_rank(model, 0.1)
    assert small.block.rank == px.compress.low_rank(px.Dense.of(jnp.asarray(weights[0])), 0.1).rank > 1
    x = normal(2, 12)
    assert_close(small(x), np.asarray(x @ small.block.weight[0] @ small.block.weight[1]), scale=5)


@pytest.mark.soak
def test_it_trains_and_is_saved_pruned_quantised_and_exported(tmp_path):
    small, x = px.compress.low_rank(dense(), 0.1), normal(8, 12)
    grads = px.grad(lambda m: m(x).sum())(small)
    assert {path for path, g in px.paths(grads).items() if np.abs(g).max() > 0} == set(px.state_dict(small))
    px.save(small, tmp_path / "small.phlox")
    assert np.array_equal(px.load(tmp_path / "small.phlox")(x), small(x))
    assert px.compress.quantize(small)[0].first.bits == 8
    assert px.compress.sparsity(px.compress.prune(small, 0.5)).share == 0.5
    half = px.bf16(small)
    assert half[0].weight.dtype == jnp.bfloat16
    px.export(small, tmp_path / "out", inputs={"x": px.Spec("batch", 12)}, to=["stablehlo"])
    assert_close(px.load_exported(tmp_path / "out")(x), np.asarray(small(x)))


def test_attention_in_two_steps():
    model, x = px.nn.MultiHeadAttention(16, 4, causal=True, key=0), normal(2, 5, 16)
    small = px.compress.low_rank(model, rank=3)
    wanted = copy.deepcopy(model)
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        getattr(wanted, name).weight = getattr(small, name).weight
    assert_close(small(x), np.asarray(wanted(x)), scale=3)
    assert small.init_cache(1, 4).keys.shape == model.init_cache(1, 4).keys.shape


def error(call, kind=px.RangeError):
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert re.search(r"px.compress.low_rank expects .*got .*\n +fix: ", text, re.S), text
    return text


def test_mistakes():
    model = dense()
    for wrong in (0, 1, -0.1, 1.5, float("nan"), True, "0.1"):
        assert f"an error in (0, 1), got {wrong!r}" in error(lambda wrong=wrong: px.compress.low_rank(model, wrong))
    for wrong in (0, 1.5, True):
        assert "a rank of 1 or more" in error(lambda wrong=wrong: px.compress.low_rank(model, rank=wrong))
    assert "got neither" in error(lambda: px.compress.low_rank(model))
    assert "got both" in error(lambda: px.compress.low_rank(model, 0.1, rank=2))
    assert "layers.9" in error(lambda: px.compress.low_rank(model, 0.1, where="layers.9"))
    kind = px.StructureError
    assert "integers" in error(lambda: px.compress.low_rank(px.compress.quantize(model), 0.1), kind)
    tied = px.tie(px.Chain(px.Dense(9, 9), px.Dense(9, 9)), "layers.1.weight", "layers.0.weight")
    assert "px.untie" in error(lambda: px.compress.low_rank(tied, rank=1), kind)
    grouped = px.Chain(px.Conv((1, 1), 8, 8, groups=2))
    assert "Conv without groups" in error(lambda: px.compress.low_rank(grouped, rank=1), kind)
