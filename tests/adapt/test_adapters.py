"""Adapters by closed forms: what they compute, which are in use, merged and unmerged, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 6)).astype("f")


def drawn(model, scale=0.5):
    """The adapters in use with weights that hide nothing."""
    for i, (path, array) in enumerate(px.split(model)[0].items()):
        holder, name = path.rpartition(".")[::2]
        noise = np.random.default_rng(i).normal(size=array.shape).astype("f")
        setattr(px.at(model, holder), name, array + scale * noise)
    return model


def dense(**options):
    return px.Dense.of(jnp.asarray(RNG.normal(size=(6, 4)).astype("f")), jnp.arange(4.0), px.tanh)


def close(ours, wanted):
    np.testing.assert_allclose(np.asarray(ours), wanted, rtol=2e-5, atol=2e-5)


# --- what they compute ------------------------------------------------------------------------------


@pytest.mark.parametrize(("rslora", "scale"), [(False, 5 / 4), (True, 5 / 2)])
def test_lora_adds_a_product_before_the_activation(rslora, scale):
    base = dense()
    model = drawn(px.adapt.lora(px.Chain(base), 4, where="layers.0", alpha=5, rslora=rslora, key=0))
    a, b = (np.asarray(px.split(model)[0][f"layers.0.adapters.default.{n}"]) for n in "ab")
    wanted = np.tanh(X @ (np.asarray(base.weight) + scale * a @ b) + np.asarray(base.bias))
    close(model(X), wanted)
    close(model[0].weight, np.asarray(base.weight) + scale * a @ b)


def test_dora_sets_the_lengths_of_columns():
    base = dense()
    model = drawn(px.adapt.dora(px.Chain(base), 2, where="layers.0", alpha=3, key=0))
    a, b, m = (np.asarray(model[0].adapters["default"].__dict__[n]) for n in ("a", "b", "magnitude"))
    v = np.asarray(base.weight) + 1.5 * a @ b
    close(model(X), np.tanh(X @ (m * v / np.linalg.norm(v, axis=0)) + np.asarray(base.bias)))


def test_ia3_scales_outputs_or_inputs():
    base = dense()
    model = drawn(px.adapt.ia3(px.Chain(base, px.Dense(4, 3)), where="layers.0", feedforward="layers.1"))
    out, into = (np.asarray(model[i].adapters["default"].factors) for i in range(2))
    hidden = np.tanh((X @ np.asarray(base.weight) + np.asarray(base.bias)) * out)
    close(model(X), (hidden * into) @ np.asarray(model[1].layer.weight))
    close(px.adapt.merge(model)(X), (hidden * into) @ np.asarray(model[1].layer.weight))


@pytest.mark.parametrize("kind", [px.adapt.lora, px.adapt.dora])
def test_a_conv_and_an_embedding_compute_what_their_weight_says(kind):
    image = jnp.asarray(RNG.normal(size=(1, 7, 7, 2)).astype("f"))
    conv = px.Conv((3, 3), 2, 3, px.relu, stride=2, padding=1, key=1)
    model = drawn(kind(px.Chain(conv), 2, where="*", alpha=3, key=0))
    assert model[0].adapters["default"].a.shape == (3, 3, 2, 2)
    plain = px.Conv.of(model[0].weight, conv.bias, px.relu, stride=2, padding=1)
    close(model(image), np.asarray(plain(image)))
    assert not np.allclose(plain(image), conv(image), atol=1e-2)
    if kind is px.adapt.lora:
        table = px.Embedding(5, 4, key=2)
        model = drawn(px.adapt.lora(px.Chain(table), 2, where="*", key=0))
        close(model(jnp.array([[0, 3]])), np.asarray(model[0].weight)[np.array([[0, 3]])])


def test_fresh_ones_change_nothing_and_are_drawn_as_the_paper_has_it():
    model = px.Chain(dense(), px.Dense(4, 3))
    before = np.asarray(model(X))
    model = px.adapt.lora(model, 2, where="*", key=0)
    assert np.array_equal(model(X), before)
    assert np.array_equal(px.adapt.dora(px.adapt.use(model, None), 2, where="*", name="d", key=0)(X), before)
    a = px.adapt.lora(px.Chain(px.Dense(400, 4)), 50, where="*", key=1)[0].adapters["default"].a
    assert 0.0495 < np.abs(a).max() <= 0.05
    assert abs(np.std(a) - 0.05 / np.sqrt(3)) < 5e-4


def test_dropout_is_of_what_goes_into_a_alone():
    base = px.Dense.of(jnp.eye(6), None)
    model = px.adapt.lora(px.Chain(base), 6, where="*", dropout=0.5, key=0)
    part = model[0].adapters["default"]
    part.a, part.b = jnp.eye(6), 10 * jnp.eye(6)
    (_, seen), _ = px.value_and_grad(lambda m: _twice(m(X)), has_aux=True)(model)
    ratio = (np.asarray(seen) / X).round(4)
    assert set(np.unique(ratio)) == {1.0, 21.0}
    close(model(X), 11 * X)


def _twice(y):
    return y.sum(), y


# --- cheap ------------------------------------------------------------------------------------------


def test_a_step_computes_no_gradient_of_what_is_frozen_and_no_whole_product():
    model = px.adapt.lora(px.Chain(px.Dense(6, 9, px.relu), px.Dense(9, 7)), 2, where="*", key=0)
    opt = px.Optimizer(px.optim.Adam(1e-3), model)
    text = px.explain(lambda m: px.grad(lambda m: m(X).sum())(m), model).jaxpr
    products = [line for line in str(text).splitlines() if "dot_general" in line]
    assert len(products) == 6 + 5 + 3  # forward; back in the second layer, to its input too; back in the first
    assert not any("f32[6,9]" in line.partition("=")[0] or "f32[9,7]" in line.partition("=")[0] for line in products)
    kept = [array.shape for array in px.paths(opt).values() if array.ndim == 2]
    assert sorted(kept) == sorted(2 * [(6, 2), (2, 9), (9, 2), (2, 7)])


def test_what_the_model_held_is_frozen_and_a_head_can_learn_beside():
    model = px.adapt.lora(px.Chain(px.Dense(6, 4), px.Dense(4, 2)), 2, where="layers.0", name="a", key=0)
    assert list(px.split(model)[0]) == [f"layers.0.adapters.a.{n}" for n in "ab"]
    model = px.adapt.lora(model, 2, where="*", name="b", key=0)
    assert list(px.split(model)[0]) == [f"layers.{i}.adapters.b.{n}" for i in range(2) for n in "ab"]
    px.thaw(model, "layers.1.layer.bias")
    assert "layers.1.layer.bias" in px.split(model)[0]


# --- several, and merging ---------------------------------------------------------------------------


def pair():
    model = px.Chain(dense())
    for name in "ab":
        model = drawn(px.adapt.lora(model, 2, where="*", name=name, key=ord(name)))
    return model


def test_several_add_up_and_none_is_the_bare_model():
    model = pair()
    base = model[0].layer
    each = {name: np.asarray(px.adapt.use(model, name)[0].weight) for name in "ab"}
    both = np.asarray(px.adapt.use(model, ["a", "b"])[0].weight)
    close(both, each["a"] + each["b"] - np.asarray(base.weight))
    close(model(X), np.tanh(X @ both + np.asarray(base.bias)))
    assert list(px.split(model)[0]) == [f"layers.0.adapters.{name}.{n}" for name in "ab" for n in "ab"]
    assert np.array_equal(px.adapt.use(model, None)(X), base(X))
    assert not px.split(model)[0]
    assert [part.state for part in px.adapt.adapters(px.adapt.use(model, "b")).parts] == ["resting", "in use"]


def test_merged_computes_the_same_once_and_gives_every_bit_back():
    model = px.adapt.use(pair(), ["a", "b"])
    before, weight = np.asarray(model(X)), model[0].layer.weight
    for _ in range(2):
        close(px.adapt.merge(model)(X), before)
    assert not px.split(model)[0]
    assert [part.state for part in px.adapt.adapters(model).parts] == ["merged"] * 2
    for act in (lambda: px.adapt.use(model, "a"), lambda: px.adapt.lora(model, where="*", name="c")):
        with pytest.raises(px.StructureError, match="adapters beside the weights, got merged ones"):
            act()
    assert px.adapt.unmerge(model)[0].weight is not weight
    assert model[0].layer.weight is weight
    assert np.array_equal(model(X), before)
    only = np.asarray(px.adapt.use(model, "b")(X))
    close(px.adapt.merge(px.adapt.use(model, "a"), "b")(X), only)
    plain = px.adapt.merge(model, keep=False)
    assert type(plain[0]) is px.Dense
    close(plain(X), only)


def test_removed_is_as_it_was():
    model = px.Chain(dense())
    layer, arrays = model[0], px.paths(model)
    model = px.adapt.remove(px.adapt.lora(model, where="*"), "default")
    assert model[0] is layer
    assert all(array is arrays[path] for path, array in px.paths(model).items())
    assert "DoRA" in str(px.adapt.adapters(px.adapt.dora(model, where="*")))


def test_a_layer_in_two_places_and_a_layer_alone():
    layer = px.Dense(6, 6, key=0)
    model = px.adapt.lora(px.Chain(layer, px.relu, layer), 2, where="layers.0", key=0)
    assert model[0] is model[2]
    assert len(px.split(model)[0]) == 2
    alone = px.adapt.lora(px.Dense(6, 6, key=0), 2, where="*", key=0)
    assert alone.layer.in_size == alone.in_size == 6
    assert px.adapt.remove(alone, "default")(X).shape == (5, 6)


# --- refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda m: px.adapt.lora(m, where="**.q_prj"), r"Dense or Conv or Embedding of the model, got '\*\*.q_prj'"),
        (lambda m: px.adapt.lora(m, where="drop"), "got 'drop', which means no such layer, but drop"),
        (lambda m: px.adapt.lora(m, where=["**.q_proj", "**.nothing"]), r"got '\*\*.nothing'"),
        (lambda m: px.adapt.lora(m, 0), "rank of 1 or more, got 0"),
        (lambda m: px.adapt.lora(m, dropout=1.0), r"a dropout in \[0, 1\), got 1.0"),
        (lambda m: px.adapt.lora(m, alpha=float("nan")), "a finite alpha, got nan"),
        (lambda m: px.adapt.lora(m, name="a.b"), "a name without dots, got 'a.b'"),
        (lambda m: px.adapt.ia3(m, where="**.q_proj", feedforward="**.q_proj"), "attention.q_proj in both"),
        (lambda m: px.adapt.lora(m, where="normed"), "normed.layer as one layer with a weight of its own"),
        (lambda m: px.adapt.lora(m, where="grouped"), "got groups=2"),
        (lambda m: px.adapt.use(m, "other"), "the name of an adapter of the model, got 'other'"),
        (lambda m: px.adapt.prefix(m), "a decoder, whose attention is causal, got attention, which is not"),
        (lambda m: px.adapt.lora(3), "a model, got 3"),
        (lambda m: px.adapt.lora(px.adapt.lora(m)), "no adapter 'default' at attention.q_proj, got one"),
    ],
)
def test_bad_input_says_what_to_write_and_changes_nothing(make, text):
    class Model(px.Module):
        def __init__(self):
            self.attention = px.nn.MultiHeadAttention(4, 2, key=0)
            self.normed = px.nn.WeightNorm(px.Dense(4, 4, key=0))
            self.grouped = px.Conv((3,), 4, 4, groups=2, key=0)
            self.drop = px.Dropout(0.5, key=0)

    model = Model()
    kinds = [type(layer) for layer in px.modules(model).values()]
    with pytest.raises(px.PhloxError, match=text):
        make(model)
    if "got one" not in text:
        assert [type(layer) for layer in px.modules(model).values()] == kinds
        assert px.split(model)[0]


def test_a_wrong_name_has_those_that_are_close():
    with pytest.raises(px.RangeError) as raised:
        px.adapt.lora(px.nn.MultiHeadAttention(4, 2, key=0), where="**.q_prj")
    assert '"**.q_proj"' in str(raised.value)


def test_a_wrong_shape_says_where():
    model = px.adapt.lora(px.Chain(px.Dense(6, 4)), where="*")
    with pytest.raises(px.ShapeError, match=r"layers\[0\].* expects \(..., 6\), got float32\[5, 3\]"):
        model(jnp.ones((5, 3)))


def test_an_embedding_that_scores_refuses_adapters():
    table = px.adapt.lora(px.Embedding(5, 4, key=0), 2, where="*")
    with pytest.raises(px.StructureError, match="no adapter in an embedding that scores words too, got default"):
        table.attend(jnp.ones((1, 4)))
    assert px.adapt.use(table, None).attend(jnp.ones((1, 4))).shape == (1, 5)


def test_in_half_precision_adapters_stay_wide():
    base = px.bf16(px.Chain(px.Dense(6, 4, key=0)))
    model = px.adapt.lora(base, 2, where="*", key=0)
    part = model[0].adapters["default"]
    assert part.a.dtype == jnp.float32
    part.b = jnp.full((2, 4), 1e-3)
    x = jnp.asarray(X, jnp.bfloat16)
    y = px.jit(lambda m, x: m(x))(model, x)
    assert y.dtype == jnp.bfloat16
    assert model[0].weight.dtype == jnp.bfloat16
    assert isinstance(y, jax.Array)
