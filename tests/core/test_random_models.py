"""The core's promises on random models: containers, shared parts, statics, State, frozen parts."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import phlox as px
from core.trees import grow, recipes, same, words
from kit import assert_close

few = settings(max_examples=20, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
X = jnp.array([0.3, -0.7])


def forward(model, x):
    return jnp.sum(model(x) * jnp.array([1.0, -2.0]))


def step(model, x):
    (value, grads) = px.value_and_grad(forward)(model, x)
    return value, grads, forward(model, x)


compiled = px.jit(step)


@few
@given(recipes)
def test_eager_is_compiled(recipe):
    eager, jitted = grow(recipe), grow(recipe)
    for _ in range(2):
        value, grads, after = step(eager, X)
        value2, grads2, after2 = compiled(jitted, X)
        assert_close(value2, value)
        assert_close(after2, after)
        ours, theirs = px.paths(grads2), px.paths(grads)
        assert list(ours) == list(theirs) == list(px.split(eager)[0])
        for path in ours:
            assert_close(ours[path], theirs[path], kind="grad", what=path)
        a, b = px.state_dict(jitted), px.state_dict(eager)
        assert list(a) == list(b)
        for path in a:
            if jnp.issubdtype(a[path].dtype, jnp.floating):
                assert_close(a[path], b[path], what=path)
            else:
                np.testing.assert_array_equal(words(a[path]), words(b[path]), err_msg=path)


@few
@given(recipes)
def test_copies_are_equal_and_apart(recipe):
    model = grow(recipe)
    before, structure = px.state_dict(model), jax.tree.structure(model)
    for twin in (px.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model)), grow(recipe)):
        assert jax.tree.structure(twin) == structure
        same(px.state_dict(twin), before)
        assert [type(m) for m in px.modules(twin).values()] == [type(m) for m in px.modules(model).values()]
        assert list(px.modules(twin)) == list(px.modules(model))  # sharing kept
        assert not {id(m) for m in px.modules(twin).values()} & {id(m) for m in px.modules(model).values()}
        with px.training(True):
            twin(X)
    same(px.state_dict(model), before)


@few
@given(recipes)
def test_pure_view_is_lossless_and_equal(recipe):
    model = grow(recipe)
    params, state = px.split(model)
    merged = px.merge(model, params, state)
    assert jax.tree.structure(merged) == jax.tree.structure(model)
    same(px.state_dict(merged), px.state_dict(model))
    y, after = px.apply(model, params, state, X, train=True)
    same(px.state_dict(model), {**{k: {**params, **state}[k] for k in px.state_dict(model)}})
    with px.training(True):
        np.testing.assert_array_equal(merged(X), y)
    same(px.split(merged)[1], after)
    same(px.split(merged)[0], params)


@few
@given(recipes)
def test_plain_jax_maps_it(recipe):
    model = px.automode(grow(recipe))  # what is pinned to training moves State, which plain JAX would lose
    leaves, structure = jax.tree.flatten(model)
    again = jax.tree.unflatten(structure, leaves)
    assert jax.tree.structure(again) == structure
    named = jax.tree_util.tree_flatten_with_path(model)[0]
    assert len({jax.tree_util.keystr(path) for path, _ in named}) == len(leaves)
    zeros = jax.tree.map(lambda _: 0, model)
    assert jax.tree.structure(zeros) == structure
    assert jax.tree.leaves(zeros) == [0] * len(leaves)
    picked = jax.tree.map(lambda leaf, _: leaf, model, zeros)
    assert all(a is b for a, b in zip(jax.tree.leaves(picked), leaves, strict=True))
    np.testing.assert_array_equal(picked(X), model(X))
    assert_close(jax.jit(lambda m, x: m(x))(model, X), model(X))


@few
@given(recipes)
def test_loading_what_was_saved_changes_nothing(recipe):
    model, other = grow(recipe), grow(recipe)
    with px.training(True):
        model(X)
    assert px.load_state_dict(other, px.state_dict(model)).complete
    same(px.state_dict(other), px.state_dict(model))
    np.testing.assert_array_equal(other(X), model(X))


@pytest.mark.soak
@pytest.mark.parametrize(
    "promise",
    [
        test_eager_is_compiled,
        test_copies_are_equal_and_apart,
        test_pure_view_is_lossless_and_equal,
        test_plain_jax_maps_it,
        test_loading_what_was_saved_changes_nothing,
    ],
)
def test_on_hundreds(promise):
    settings(few, max_examples=400, derandomize=False)(given(recipes)(promise.hypothesis.inner_test))()
