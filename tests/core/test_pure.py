"""The pure view: parameters and state as dicts, the model as a function of them, lossless both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from core.trees import same
from kit import assert_close

X = jnp.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])


def make(seed=0):
    return px.Chain(px.Dense(3, 4, key=seed), px.BatchNorm(4), px.Dropout(0.5, key=seed), px.Dense(4, 2, key=seed + 1))


def test_split_tells_parameters_from_state():
    model = make()
    params, state = px.split(model)
    assert list(params) == [
        "layers.0.weight", "layers.0.bias", "layers.1.scale", "layers.1.bias", "layers.3.weight", "layers.3.bias",
    ]  # fmt: skip
    assert list(state) == ["layers.1.mean", "layers.1.var", "layers.2.key"]
    assert params["layers.0.weight"] is model[0].weight
    px.freeze(model[0])
    assert list(px.split(model)[1])[:2] == ["layers.0.weight", "layers.0.bias"]


def test_apply_is_pure_and_is_the_same_step():
    model, twin = make(), make()
    params, state = px.split(model)
    y, after = px.apply(model, params, state, X, train=True)
    y2, after2 = px.apply(model, params, after, X, train=True)
    same(px.state_dict(model), px.state_dict(twin))
    with px.training(True):
        np.testing.assert_array_equal(twin(X), y)
        same(px.split(twin)[1], after)
        np.testing.assert_array_equal(twin(X), y2)
        same(px.split(twin)[1], after2)
    same(px.split(px.merge(model, params, after2))[1], after2)


def test_the_three_modes_of_apply():
    model = px.Dropout(0.5, key=0)
    view = px.split(model)
    x = jnp.ones((8, 8))
    assert_close(px.apply(model, *view, x)[0], x)
    assert_close(px.apply(model, *view, x, train=False)[0], x)
    assert set(px.apply(model, *view, x, train=True)[0].ravel().tolist()) == {0.0, 2.0}
    assert_close(px.apply(model, *view, x, train=None)[0], x)
    with px.training(True):
        assert set(px.apply(model, *view, x, train=None)[0].ravel().tolist()) == {0.0, 2.0}
        assert_close(px.apply(model, *view, x, train=False)[0], x)


def test_plain_transforms_of_the_pure_view():
    model, twin = make(), make()
    params, state = px.split(model)

    @jax.jit
    def step(params, state, x):
        def loss(params):
            y, after = px.apply(model, params, state, x, train=True)
            return (y**2).mean(), after

        (value, after), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return value, grads, after

    value, grads, after = step(params, state, X)
    want, tree = px.value_and_grad(lambda m: (m(X) ** 2).mean())(twin)
    assert_close(value, want)
    for path, g in px.paths(tree).items():
        assert_close(grads[path], g, kind="grad", what=path)
    for path, v in px.split(twin)[1].items():
        if "key" not in path:
            assert_close(after[path], v, what=path)
    np.testing.assert_array_equal(jax.random.key_data(after["layers.2.key"]), jax.random.key_data(twin[2].key))


def test_apply_runs_any_method():
    model = px.Embedding(5, 3, key=0)
    view = px.split(model)
    assert_close(px.apply(model, *view, X, method="attend")[0], X @ model.weight.T)
    assert_close(px.apply(model, *view, 2.0, method=lambda m, s: m.weight * s)[0], 2 * model.weight)


def test_merge_reads_nothing_of_the_model_and_refuses_what_does_not_fit():
    model = make()
    params, state = px.split(make(7))
    merged = px.merge(model, params, state)
    assert merged[0].weight is params["layers.0.weight"]
    assert_close(merged(X), make(7)(X))
    less = {k: v for k, v in params.items() if k != "layers.0.bias"}
    with pytest.raises(px.StructureError, match=r"got missing layers\.0\.bias"):
        px.merge(model, less, state)
    with pytest.raises(px.StructureError, match="unknown other"):
        px.merge(model, {**params, "other": X}, state)
    with pytest.raises(px.StructureError, match="a path in both"):
        px.merge(model, params, {**state, "layers.0.bias": params["layers.0.bias"]})


def test_apply_refuses_a_parameter_that_moves():
    class Moving(px.Module):
        def __init__(self):
            self.weight = jnp.ones(3)

        def __call__(self, x):
            self.weight = self.weight * 2
            return x

    model = Moving()
    with pytest.raises(px.StructureError, match="new value for the parameter weight") as caught:
        px.apply(model, *px.split(model), X)
    assert "px.State" in str(caught.value)
    assert_close(model.weight, jnp.ones(3))


def test_load_state_dict_checks_all_before_it_writes():
    model = make()
    before = px.state_dict(model)
    wrong = {**px.state_dict(make(3)), "layers.0.weight": jnp.ones((4, 3)), "new": X}
    del wrong["layers.3.bias"]
    with pytest.raises(px.StructureError) as caught:
        px.load_state_dict(model, wrong)
    text = str(caught.value)
    for piece in (
        "missing: layers.3.bias",
        "unexpected: new",
        "layers.0.weight expects float32[3, 4], got float32[4, 3]",
    ):
        assert piece in text
    assert all(px.state_dict(model)[k] is v for k, v in before.items())
    report = px.load_state_dict(model, wrong, strict=False)
    assert (report.missing, report.unexpected) == (["layers.3.bias"], ["new"])
    assert list(report.mismatched) == ["layers.0.weight"]
    assert model[0].weight is before["layers.0.weight"]
    assert_close(model[3].weight, make(3)[3].weight)


def test_a_dtype_that_differs_is_a_mismatch():
    model = px.Dense(3, 2, key=0)
    with pytest.raises(px.StructureError, match=r"expects float32\[3, 2\], got float16\[3, 2\]"):
        px.load_state_dict(model, {k: v.astype(jnp.float16) for k, v in px.state_dict(model).items()})
