"""freeze and thaw: by object, by pattern, by predicate; decided before the gradient is computed."""

import jax
import jax.numpy as jnp
import pytest

import phlox as px
from kit import assert_close

X = jnp.array([[1.0, -2.0, 0.5]])
NAMES = ["layers.0.weight", "layers.0.bias", "layers.1.layers.0.weight", "layers.1.layers.0.bias", "layers.2.weight"]


def make():
    return px.Chain(px.Dense(3, 3, key=0), px.Chain(px.Dense(3, 3, key=1)), px.Dense(3, 2, bias=False, key=2))


def free(model):
    return list(px.split(model)[0])


CHOICES = {
    "object": (lambda m: (m[1],), [0, 1, 4]),
    "two objects": (lambda m: (m[0], m[2]), [2, 3]),
    "whole": (lambda m: (), []),
    "prefix": (lambda m: ("layers.1",), [0, 1, 4]),
    "pattern": (lambda m: ("*.bias",), [0, 2, 4]),
    "pattern of a part": (lambda m: ("layers.1.*",), [0, 1, 4]),
    "exact": (lambda m: ("layers.0.weight",), [1, 2, 3, 4]),
    "predicate": (lambda m: (lambda path, x: x.ndim == 2,), [1, 3]),
    "several": (lambda m: ("layers.2.weight", lambda path, x: "1" in path), [0, 1]),
}


@pytest.mark.parametrize("name", CHOICES)
def test_gradients_and_views_leave_out_what_is_frozen(name):
    choose, rest = CHOICES[name]
    model = make()
    full = px.paths(px.grad(lambda m: m(X).sum())(model))
    assert px.freeze(model, *choose(model)) is model
    left = [NAMES[i] for i in rest]
    assert free(model) == left
    for transform in (lambda f: f, px.jit):
        grads = transform(lambda m: px.grad(lambda m: m(X).sum())(m))(model)
        found = px.paths(grads)
        assert list(found) == left
        for path in left:
            assert_close(found[path], full[path], kind="grad")
    px.thaw(model, *choose(model))
    assert free(model) == NAMES


def test_thaw_a_part_of_what_is_frozen():
    model = px.freeze(make())
    px.thaw(model, "layers.1.layers.0.bias")
    assert free(model) == [NAMES[3]]
    px.thaw(model, model[2])
    assert free(model) == NAMES[3:]
    px.freeze(model, "*")
    assert free(model) == []


def test_no_gradient_is_computed_for_what_is_frozen():
    """A custom rule that raises shows that the backward pass never goes there."""

    @jax.custom_vjp
    def watched(w):
        return w

    def backward(_, g):
        raise AssertionError("a gradient of a frozen array was computed")

    watched.defvjp(lambda w: (w, None), backward)

    class Watched(px.Module):
        def __init__(self):
            self.weight, self.other = jnp.ones(3), jnp.ones(3)

        def __call__(self, x):
            return (x * watched(self.weight) * self.other).sum()

    model = px.freeze(Watched(), "weight")
    assert_close(px.grad(lambda m: m(X))(model).other, X[0], kind="grad")
    with pytest.raises(AssertionError, match="frozen array"):
        px.grad(lambda m: m(X))(px.thaw(model))


def test_frozen_is_kept_by_copies_and_by_the_optimiser():
    model = px.freeze(make(), "*.bias")
    for twin in (px.copy(model), px.merge(model, *px.split(model)), jax.tree.map(lambda v: v, model)):
        assert free(twin) == free(model)
    bias = model[0].bias
    opt = px.Optimizer(px.optim.AdamW(0.1, weight_decay=0.5), model)
    opt.update(model, px.grad(lambda m: m(X).sum())(model))
    assert model[0].bias is bias


@pytest.mark.parametrize("choice", ["encoder.*", lambda path, x: False], ids=["pattern", "predicate"])
def test_a_choice_that_matches_nothing_is_an_error(choice):
    with pytest.raises(px.StructureError, match="matches an array of this Chain") as caught:
        px.freeze(make(), choice)
    assert "layers.0.weight" in str(caught.value)


def test_a_part_of_another_model_is_an_error():
    with pytest.raises(px.StructureError, match="a part of this Chain"):
        px.freeze(make(), px.Dense(3, 3, key=0))


def test_a_shared_part_is_frozen_everywhere():
    layer = px.Dense(3, 3, key=0)
    model = px.Chain(layer, px.tanh, layer)
    px.freeze(model, "layers.0.weight")
    assert free(model) == ["layers.0.bias"]
    assert px.grad(lambda m: m(X).sum())(model)[2].weight is None
