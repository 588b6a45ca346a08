"""A Module reachable by two paths is one Module: one gradient, one optimiser slot, one entry in a file."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import phlox as px
from kit import assert_close

X = jnp.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])


def tied(seed=0):
    """``layer(tanh(layer(x)))`` beside a head that holds the layer too."""
    layer = px.Dense(3, 3, key=seed)
    return px.Chain(layer, px.tanh, px.SkipConnection(layer, operator.mul), px.Dense(3, 1, key=seed + 1))


def loss(model, x=X):
    return (model(x) ** 2).mean()


def by_hand(weight, bias, head, head_bias):
    layer = lambda h: h @ weight + bias  # noqa: E731
    h = jnp.tanh(layer(X))
    return (((layer(h) * h) @ head + head_bias) ** 2).mean()


def expected(model):
    return jax.grad(by_hand, argnums=(0, 1, 2, 3))(model[0].weight, model[0].bias, model[3].weight, model[3].bias)


@pytest.mark.parametrize("transform", [lambda f: f, px.jit], ids=["eager", "jit"])
def test_one_gradient_with_every_use_summed(transform):
    model = tied()
    grads = transform(lambda m: px.grad(loss)(m))(model)
    assert grads[0] is grads[2].layer
    assert list(px.paths(grads)) == ["layers.0.weight", "layers.0.bias", "layers.3.weight", "layers.3.bias"]
    for ours, theirs in zip(px.paths(grads).values(), expected(model), strict=True):
        assert_close(ours, theirs, kind="grad")


def test_one_entry_in_files_lists_and_views():
    model = tied()
    names = ["layers.0.weight", "layers.0.bias", "layers.3.weight", "layers.3.bias"]
    assert list(px.state_dict(model)) == list(px.paths(model)) == list(px.split(model)[0]) == names
    assert list(px.modules(model)) == ["", "layers.0", "layers.2", "layers.3"]
    fresh = tied(5)
    px.load_state_dict(fresh, px.state_dict(model))
    assert fresh[0] is fresh[2].layer
    assert_close(fresh(X), model(X))


@pytest.mark.parametrize("transform", [lambda f: f, px.jit], ids=["eager", "jit"])
def test_one_optimiser_slot_and_one_step(transform):
    model = tied()
    opt = px.Optimizer(px.optim.Momentum(0.1, 0.9), model)
    assert sorted(opt.slot("velocity")) == sorted(px.paths(model))
    arrays = [model[0].weight, model[0].bias, model[3].weight, model[3].bias]
    trace = [jnp.zeros_like(a) for a in arrays]

    @transform
    def step(model, opt):
        opt.update(model, px.grad(loss)(model))

    for _ in range(2):
        grads = jax.grad(by_hand, argnums=(0, 1, 2, 3))(*arrays)
        trace = [0.9 * v + g for v, g in zip(trace, grads, strict=True)]
        arrays = [a - 0.1 * v for a, v in zip(arrays, trace, strict=True)]
        step(model, opt)
    assert model[0] is model[2].layer
    for ours, theirs in zip(px.paths(model).values(), arrays, strict=True):
        assert_close(ours, theirs, kind="grad")


def test_sharing_survives_every_px_function():
    model = tied()
    rebuilt = [
        px.copy(model),
        px.merge(model, *px.split(model)),
        px.map(lambda w: w * 1, model),
        px.constant(model),
        px.grad(loss)(model),
        px.jit(lambda m: px.copy(m))(model),
        px.value_and_grad(lambda m: (loss(m), m), has_aux=True)(model)[0][1],
    ]
    for new in rebuilt:
        assert new[0] is new[2].layer
    both = px.copy({"a": model, "b": [model[0]]})
    assert both["a"][0] is both["b"][0]
    assert both["a"][0] is not model[0]


def test_sharing_between_two_arguments():
    model = tied()
    part = model[0]

    def f(whole, part):
        assert whole[0] is part
        return loss(whole) + (part(X) ** 2).sum()

    for transform in (lambda f: f, px.jit):
        first, second = transform(lambda m, p: px.grad(f, argnums=(0, 1))(m, p))(model, part)
        assert first[0] is second
        want = expected(model)[0] + jax.grad(lambda w: ((X @ w + part.bias) ** 2).sum())(part.weight)
        assert_close(second.weight, want, kind="grad")


def test_a_write_through_one_path_is_seen_through_the_other():
    model = tied()

    @px.jit
    def step(model):
        model[0].weight = jnp.zeros((3, 3))
        return model[2].layer.weight.sum()

    assert float(step(model)) == 0
    assert not model[2].layer.weight.any()


def test_global_norm_counts_once_and_map_visits_once():
    model = tied()
    grads = px.grad(loss)(model)
    want = np.sqrt(sum(float((g**2).sum()) for g in expected(model)))
    assert_close(px.global_norm(grads), np.float32(want), kind="grad")
    assert float(optax.tree.norm(grads)) > want * 1.001, "plain optax counts the shared part twice"
    visits = []
    px.map(lambda g: visits.append(g) or g, grads)
    assert len(visits) == 4


@pytest.mark.parametrize("transform", [lambda f: f, px.jit], ids=["eager", "jit"])
def test_untied_gradients_whose_copies_agree_are_accepted(transform):
    model, twin = tied(), tied()

    @transform
    def step(model, opt):
        grads = jax.tree.map(lambda g: 0.5 * g, px.grad(loss)(model))
        assert grads[0] is not grads[2].layer  # plain JAX unties
        opt.update(model, grads)

    step(model, px.Optimizer(px.optim.Descent(0.2), model))
    want = expected(twin)
    for ours, start, g in zip(px.paths(model).values(), px.paths(twin).values(), want, strict=True):
        assert_close(ours, start - 0.1 * g, kind="grad")


def test_untied_gradients_that_differ_are_refused():
    model = tied()
    opt, before = px.Optimizer(px.optim.Descent(0.2), model), px.state_dict(model)
    grads = jax.tree.map(lambda g: g, px.grad(loss)(model))
    grads[2].layer.weight = grads[2].layer.weight + 1
    with pytest.raises(px.StructureError, match="one gradient for the shared layers") as caught:
        opt.update(model, grads)
    assert "layers.0.weight" in str(caught.value)
    assert "layers.2.layer.weight" in str(caught.value)
    assert "px.map" in str(caught.value)
    assert all(px.state_dict(model)[k] is v for k, v in before.items())


def test_untied_gradients_that_differ_are_refused_compiled():
    model = tied()
    opt = px.Optimizer(px.optim.Descent(0.2), model)

    @px.jit(donate=False)
    def step(model, opt):
        grads = jax.tree.map(lambda g: g, px.grad(loss)(model))
        grads[2].layer.weight = grads[2].layer.weight + 1
        opt.update(model, grads)

    with pytest.raises(Exception, match="one gradient for the shared layers"):
        jax.block_until_ready((step(model, opt), model[0].weight))


def test_tying_and_untying_is_a_change_of_structure():
    model = tied()
    call = px.jit(lambda m: list(px.paths(px.grad(loss)(m))))
    assert len(call(model)) == 4
    model.layers[2].layer = px.copy(model[0])
    assert len(call(model)) == 6
    model.layers[2].layer = model[0]
    assert len(call(model)) == 4
    assert len(call.history.traces) == 2


def test_a_module_inside_itself_is_refused():
    model = px.Chain(px.relu)
    model.layers.append(px.Chain(px.tanh, model))
    with pytest.raises(px.StructureError, match="a tree of Modules, got one that holds itself"):
        px.paths(model)
