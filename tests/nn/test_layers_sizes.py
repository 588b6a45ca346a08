"""Shapes without computing: output_shape, autosize, summary."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox import nn
from phlox.nn import AUTO
from registry import CASES, built


def net(auto: bool) -> px.Module:
    size = lambda n: AUTO if auto else n  # noqa: E731
    return px.Chain(
        px.Conv((3, 3), size(1), 8, px.relu, stride=2),
        px.BatchNorm(size(8)),
        nn.DepthwiseConv((3, 3), size(8), 2),
        nn.GroupNorm(size(16), 4, px.relu),
        px.SkipConnection(px.Conv((3, 3), size(16), 16, padding="SAME"), operator.add),
        nn.ConvTranspose((2, 2), size(16), 6, stride=2),
        nn.PReLU(size(6)),
        px.flatten,
        px.Dense(size(18 * 18 * 6), 10, px.relu),
        px.Dropout(0.3),
        nn.RMSNorm(size(10)),
        px.LayerNorm(size(10)),
        nn.Bilinear(size(10), size(10), 4),
        nn.Scale(size(4)),
    )


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_output_shape_is_that_of_the_call(case):
    model = built(case)
    before = px.state_dict(model)
    y = model(*map(jnp.asarray, case.inputs))
    want = jax.tree.map(lambda v: v.shape, y)
    assert nn.output_shape(model, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in case.inputs]) == want
    assert all(a is b for a, b in zip(before.values(), px.state_dict(model).values(), strict=True))


def test_output_shape_computes_nothing():
    model = px.Dense(4, 10**5)
    assert nn.output_shape(model, (10**9, 4)) == (10**9, 10**5)
    assert nn.output_shape(px.Embedding(5, 3), (2, 7), dtype=jnp.int32) == (2, 7, 3)
    assert nn.output_shape(nn.Branch(px.Dense(4, 2), px.relu), (3, 4)) == ((3, 2), (3, 4))
    assert nn.output_shape(nn.Bilinear(2, 3, 4), [(5, 2), (5, 3)]) == (5, 4)
    with pytest.raises(px.ShapeError, match=r"model Dense\(4 → 100000\) expects \(\.\.\., 4\), got float32\[3, 5\]"):
        nn.output_shape(model, (3, 5))


def test_autosize_gives_the_model_of_explicit_sizes_bit_by_bit():
    with px.seed(5):
        auto = nn.autosize((32, 24, 24, 1), lambda: net(True))
    with px.seed(5):
        explicit = net(False)
    assert jax.tree.structure(auto) == jax.tree.structure(explicit)
    ours, theirs = px.state_dict(auto), px.state_dict(explicit)
    assert list(ours) == list(theirs)
    for path, v in theirs.items():
        a, b = (jax.random.key_data(v) if path.endswith("key") else v for v in (ours[path], v))
        np.testing.assert_array_equal(a, b, err_msg=path)
    assert repr(auto) == repr(explicit)
    assert all("AUTO" not in type(m).__name__ and type(m) in type(m).__mro__ for m in px.modules(auto).values())
    assert type(auto[0]) is px.Conv


def test_autosize_passes_through_classes_of_ones_own_and_repeated_blocks():
    class Block(px.Module):
        def __init__(self, width, hidden):
            self.norm = px.LayerNorm(width)
            self.up, self.down = px.Dense(width, hidden, px.gelu), px.Dense(hidden, 6)

        def __call__(self, x):
            return x + self.down(self.up(self.norm(x)))

    class Wider(px.Dense):
        def __init__(self, size):
            super().__init__(size, 6)
            self.gain = 2.0

        def __call__(self, x):
            return self.gain * super().__call__(x)

    build = lambda: px.Chain(Wider(AUTO), nn.RepeatedLayer(lambda: Block(AUTO, 9), 3), px.Dense(AUTO, 2))  # noqa: E731
    model = nn.autosize((5, 4), build)
    assert model[0].weight.shape == (4, 6)
    assert type(model[0]) is Wider
    assert model[1].block.up.weight.shape == (3, 6, 9)
    assert model(jnp.ones((5, 4))).shape == (5, 2)


def test_autosize_of_several_inputs_and_integers():
    model = nn.autosize([(5, 2), (5, 3)], lambda: px.Chain(nn.Bilinear(AUTO, AUTO, 4), px.Dense(AUTO, 1)))
    assert model[0].weight.shape == (2, 3, 4)
    tokens = nn.autosize((5, 7), lambda: px.Chain(px.Embedding(11, 6), px.Dense(AUTO, 1)), dtype=jnp.int32)
    assert tokens[1].in_size == 6


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (lambda: px.Dense(AUTO, 3), r"Dense expects in_size as a number, got AUTO outside px.autosize"),
        (
            lambda: nn.autosize((3, 4), lambda: px.Dense(4, AUTO)),
            r"Dense expects out_size as a number \(AUTO may stand for in_size\), got AUTO",
        ),
        (lambda: nn.autosize((3, 4), lambda: px.Dense(AUTO, 2 * AUTO)), r"px.AUTO to be passed on as it is, got arith"),
        (
            lambda: nn.autosize((3, 4), lambda: nn.compact(lambda self, x: x, unused=px.Dense(AUTO, 2))),
            r"px.autosize expects every layer with px.AUTO to be called by the model, got a Dense that never was",
        ),
        (
            lambda: nn.autosize((3, 4), lambda: px.Chain(px.Dense(AUTO, 5), px.Dense(4, 2))),
            r"model\.layers\[1\] Dense\(4 → 2\) expects \(\.\.\., 4\), got float32\[3, 5\]",
        ),
        (lambda: nn.autosize((3, 4), lambda: px.Embedding(AUTO, 2)), r"Embedding expects num to be a whole number"),
        (
            lambda: nn.autosize((3, 4), lambda: nn.WeightNorm(px.Dense(AUTO, 2))),
            r"Dense\(AUTO, 2\) expects its size to be known before \.weight is read, got AUTO",
        ),
    ],
)
def test_what_autosize_cannot_know_is_said(run, text):
    with pytest.raises(px.PhloxError, match=text) as caught:
        run()
    assert "\n  fix: " in str(caught.value)
    assert nn.autosize((3, 4), lambda: px.Dense(AUTO, 2)).in_size == 4, "and the next call starts afresh"


def test_a_build_that_changes_is_refused():
    calls = []

    def build():
        calls.append(1)
        return px.Dense(AUTO, 2) if len(calls) == 1 else px.Chain(px.BatchNorm(AUTO))

    with pytest.raises(px.StructureError, match=r"build\(\) that makes the same layers each time it is called"):
        nn.autosize((3, 4), build)


# --- summary -------------------------------------------------------------------------------------------------------


def rows(found):
    return {r.path: r for r in found.rows}


def test_a_summary_counts_by_hand():
    model = px.Chain(
        px.Conv((3, 3), 2, 4, padding=1), px.relu, px.BatchNorm(4), px.flatten, px.Dense(4 * 5 * 6, 10), px.Dropout(0.5)
    )
    before = px.state_dict(model)
    found = nn.summary(model, (8, 5, 6, 2))
    r = rows(found)
    conv, norm, dense, drop = (r[f"layers.{i}"] for i in (0, 2, 4, 5))
    assert conv.output == ((8, 5, 6, 4),)
    assert (conv.parameters, conv.state) == (3 * 3 * 2 * 4 + 4, 0)
    out = 8 * 5 * 6 * 4
    assert conv.flops == 2 * out * 3 * 3 * 2 + out
    assert conv.activation_bytes == 4 * out
    assert (norm.parameters, norm.state) == (8, 8)
    assert dense.flops == 2 * 8 * 120 * 10 + 80
    assert dense.activation_bytes == 4 * 80
    assert (drop.output, drop.flops, drop.activation_bytes, drop.state) == (((8, 10),), 0, 0, 1)
    assert r[""].output == ((8, 10),)
    assert r[""].flops == 8 * 5 * 6 * 4, "relu, which is no Module, compares"
    assert found.parameters == sum(v.size for v in px.split(model)[0].values())
    assert found.flops == sum(x.flops for x in found.rows)
    assert all(a is b for a, b in zip(before.values(), px.state_dict(model).values(), strict=True))
    assert type(model[0]) is px.Conv


def test_loops_count_as_often_as_they_run():
    one = nn.summary(nn.RepeatedLayer(lambda: px.Dense(8, 8, px.tanh), 1), (4, 8))
    many = nn.summary(nn.RepeatedLayer(lambda: px.Dense(8, 8, px.tanh), 7), (4, 8))
    row = rows(many)["block"]
    assert row.flops == 7 * (2 * 4 * 8 * 8 + 4 * 8 + 4 * 8)
    assert row.flops == 7 * rows(one)["block"].flops
    assert (row.calls, row.output, row.activation_bytes) == (7, ((4, 8),), 7 * 4 * 32)
    assert row.parameters == 7 * 72
    chain = nn.summary(px.Chain(*[px.Dense(8, 8, px.tanh) for _ in range(7)]), (4, 8))
    assert chain.flops == many.flops


def test_the_total_agrees_with_the_compilers_count():
    model = px.Chain(px.Dense(32, 64, px.relu), px.Dense(64, 64, px.relu), px.Dense(64, 8))
    x = jnp.ones((16, 32))
    compiled = px.explain(lambda m, x: m(x), model, x).flops
    assert abs(nn.summary(model, x).flops - compiled) < 0.05 * compiled


def test_calls_sharing_and_branches():
    tied = px.Dense(4, 4)
    model = px.Chain(tied, tied, px.SkipConnection(px.relu, operator.add), unused := px.Chain())
    found = rows(nn.summary(model, (2, 4)))
    assert found["layers.0"].calls == 2
    assert found["layers.0"].parameters == 20
    assert found["layers.0"].flops == 2 * (2 * 2 * 4 * 4 + 8)
    assert found["layers.2"].flops == 8 + 8
    assert found["layers.3"].output == ((2, 4),)
    assert unused is model[3]

    def pick(self, x):
        return px.cond(x.sum() > 0, lambda x: self.big(x), lambda x: self.small(x), x)

    chosen = nn.compact(pick, big=px.Dense(4, 4), small=px.Dense(4, 4, bias=False), idle=px.Dense(3, 3))
    found = rows(nn.summary(chosen, (2, 4)))
    assert found["big"].flops == 2 * 2 * 16 + 8
    assert found["small"].flops == 0, "the longer branch counts"
    assert (found["idle"].calls, found["idle"].output) == (0, ())


def test_the_mode_of_a_summary():
    model = px.Chain(px.Dense(4, 4), px.Dropout(0.5))
    assert rows(nn.summary(model, (2, 4), train=True))["layers.1"].activation_bytes == 32
    assert rows(nn.summary(model, (2, 4)))["layers.1"].activation_bytes == 0


def test_a_summary_prints_its_rows():
    model = px.Chain(px.Dense(784, 64, px.relu), nn.RepeatedLayer(lambda: px.Dense(64, 64), 3), px.Dense(64, 10))
    text = str(nn.summary(model, (128, 784)))
    for piece in ("layers.0", "Dense(784 → 64, relu)", "(128, 64)", "50,240", "(128, 64) ×3", "FLOPs", "total"):
        assert piece in text
    assert "parameters and state take" in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_wrong_shape_in_a_summary_names_the_layer():
    model = px.Chain(px.Dense(4, 8), px.Dense(7, 2))
    with pytest.raises(px.ShapeError, match=r"layers\[1\] Dense\(7 → 2\) expects \(\.\.\., 7\), got float32\[3, 8\]"):
        nn.summary(model, (3, 4))
