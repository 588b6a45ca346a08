"""A tree as one vector and back: against jax.flatten_util where that agrees, and the rule that nothing is lost."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import phlox as px


def test_a_real_pair_a_function_and_a_complex_number():
    tree = {"pair": (jnp.array([1.0, 2.0]), np.float32(3.0)), "act": px.relu, "z": 4 + 5j, "none": None}
    vector, restore = px.destructure(tree)
    assert vector.dtype == jnp.complex64
    assert vector.tolist() == [1, 2, 3, 4 + 5j]
    back = restore(vector * 2)
    assert back["pair"][0].tolist() == [2.0, 4.0]
    assert back["pair"][0].dtype == jnp.float32
    assert (float(back["pair"][1]), back["act"], back["z"], back["none"]) == (6.0, px.relu, 8 + 10j, None)
    assert type(back["z"]) is complex


def test_it_is_jaxs_ravel_on_plain_arrays():
    tree = {"b": jnp.arange(6.0).reshape(2, 3), "a": [jnp.ones(()), jnp.zeros((2, 0))], "c": jnp.arange(3)}
    ours, restore = px.destructure(tree)
    theirs, unravel = ravel_pytree(tree)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
    jax.tree.map(np.testing.assert_array_equal, restore(ours), unravel(theirs))


@pytest.mark.parametrize(
    ("tree", "vector", "got"),
    [
        ([jnp.ones(2), 1j], [1 + 1j, 1, 1], r"\(1\+1j\)"),
        ([jnp.arange(2), 0.5], [0.5, 1, 1], r"0\.5"),
        ([jnp.array([True]), 1.0], [2.0, 1], r"2\.0"),
        ([jnp.array([1], jnp.int8), 1.0], [300.0, 1], r"300\.0"),
        ([jnp.array([1], jnp.uint8), 1.0], [-1.0, 1], r"-1\.0"),
        ([jnp.arange(2), 1j], [1 + 1j, 1, 1], r"\(1\+1j\)"),
        ([jnp.arange(2), 1.0], [np.nan, 1, 1], "nan"),
        ([jnp.arange(2), 1.0], [np.inf, 1, 1], "inf"),
        ([3, 1.0], [2.5, 1], r"2\.5"),
        ([jnp.ones(1, jnp.float16), jnp.ones(1)], [1e6, 1], r"1000000\.0"),
        ([jnp.ones(1, jnp.complex64), jnp.ones(1, jnp.float16)], [1, -1e6], r"\(-1000000\+0j\)"),
    ],
)
def test_nothing_is_lost_on_the_way_back(tree, vector, got):
    start, restore = px.destructure(tree)
    restore(start)
    with pytest.raises(
        px.DtypeError, match=rf"px.destructure expects numbers that fit .* without loss, got .*(?:{got})"
    ):
        restore(jnp.asarray(vector, start.dtype))


def test_rounding_to_a_narrower_float_is_no_loss_of_kind():
    vector, restore = px.destructure([jnp.ones(1, jnp.float16), jnp.ones(1)])
    assert restore(vector / 3)[0].tolist() == [float(np.float16(np.float32(1) / np.float32(3)))]
    assert np.isnan(restore(vector * jnp.nan)[0]).all()
    assert np.isinf(restore(vector * jnp.inf)[0]).all()


def test_a_model_gives_its_trainable_arrays_and_shared_ones_once():
    part = px.Dense.of(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([5.0, 6.0]))
    model = px.Chain(part, px.BatchNorm(2), part, px.Dropout(0.5))
    vector, restore = px.destructure(model)
    assert vector.tolist() == [1, 2, 3, 4, 5, 6, 1, 1, 0, 0]
    new = restore(vector + 1)
    assert new[0] is new[2]
    assert new[0].weight.tolist() == [[2.0, 3.0], [4.0, 5.0]]
    np.testing.assert_array_equal(new[1].mean, model[1].mean)
    assert model[0].weight.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    px.freeze(part)
    assert px.destructure(model)[0].tolist() == [1, 1, 0, 0]


def test_a_part_in_two_places_of_a_tree_counts_once():
    part = px.Dense.of(jnp.array([[1.0]]), None)
    tree = {"a": [part], "b": (2.0, px.Chain(part), part)}
    vector, restore = px.destructure(tree)
    assert vector.tolist() == [1.0, 2.0]
    new = restore(vector + 1)
    assert new["a"][0] is new["b"][1][0] is new["b"][2]
    assert (new["a"][0].weight.tolist(), new["b"][0]) == ([[2.0]], 3.0)


def test_the_inverse_keeps_no_weights_alive_and_state_as_it_was():
    model = px.BatchNorm(2)
    vector, restore = px.destructure(model)
    gone = weakref.ref(model), weakref.ref(model.scale)
    model.mean = model.mean + 1
    del model
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert restore(vector).mean.tolist() == [0.0, 0.0]


def test_a_gradient_through_the_vector_is_the_gradient_of_the_model():
    model, x = px.Chain(px.Dense(3, 4, px.tanh), px.Dense(4, 1)), jnp.linspace(-1, 1, 6).reshape(2, 3)
    vector, restore = px.destructure(model)

    def loss(vector):
        return (restore(vector)(x) ** 2).sum()

    flat = jax.grad(loss)(vector)
    grads = px.grad(lambda m: (m(x) ** 2).sum())(model)
    expected = jnp.concatenate([g.reshape(-1) for g in px.paths(grads).values()])
    np.testing.assert_allclose(flat, expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(vector), expected, rtol=1e-5)
    np.testing.assert_allclose(px.jit(px.grad(loss))(vector), expected, rtol=1e-5)


def test_in_a_trace_a_number_that_does_not_fit_becomes_one_that_cannot_be_missed():
    vector, restore = px.destructure((jnp.ones(2), jnp.arange(2), 1j))
    lost = jax.jit(restore)(vector + jnp.array([1j, 0, 0, 0.5, 0]))
    assert np.isnan(lost[0][0])
    assert float(lost[0][1]) == 1.0
    assert lost[1].tolist() == [0, np.iinfo(np.int32).min]
    kept = jax.jit(restore)(vector)
    assert (kept[0].tolist(), kept[1].tolist()) == ([1.0, 1.0], [0, 1])


def test_a_destructured_model_inside_a_compiled_function():
    @px.jit
    def norm(model):
        vector, restore = px.destructure(model)
        return jnp.sqrt((vector**2).sum()), restore(vector / 2)

    model = px.Dense.of(jnp.array([[3.0], [0.0]]), jnp.array([4.0]))
    value, half = norm(model)
    assert float(value) == 5.0
    assert half.weight.tolist() == [[1.5], [0.0]]


@pytest.mark.parametrize("wrong", [jnp.ones(2), jnp.ones((3, 1)), jnp.ones(())])
def test_a_vector_of_another_length(wrong):
    _, restore = px.destructure(px.Dense(2, 1))
    with pytest.raises(px.ShapeError, match=r"px.destructure expects a vector of 3 numbers, got float32\["):
        restore(wrong)


def test_nothing_to_destructure():
    vector, restore = px.destructure({"a": px.relu, "b": []})
    assert vector.shape == (0,)
    assert restore(vector) == {"a": px.relu, "b": []}
