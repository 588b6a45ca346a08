"""Transformations of optax in ``px.Optimizer``, each against optax's own plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import phlox as px
from kit import assert_close

W = {"weight": jnp.asarray([[1.0, -2.0, 0.5]]), "bias": jnp.asarray([0.3, 0.1, -0.2])}
AIM = jnp.asarray([[1.0, 2.0, 3.0]])


def plain_loss(params):
    return ((params["weight"] * AIM - 1) ** 2).sum() + (params["bias"] ** 2).sum()


def loss(model):
    return plain_loss({"weight": model.weight, "bias": model.bias})


def plain(rule, steps, call):
    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(plain_loss)(params)
        updates, state = call(rule, grads, state, params, value)
        return optax.apply_updates(params, updates), state

    params, state = dict(W), rule.init(W)
    for _ in range(steps):
        params, state = step(params, state)
    return params


def bare(rule, grads, state, params, value):
    return rule.update(grads, state, params)


def with_value(rule, grads, state, params, value):
    return rule.update(grads, state, params, value=value)


def searching(rule, grads, state, params, value):
    return rule.update(grads, state, params, value=value, grad=grads, value_fn=plain_loss)


def opaque(rule, grads, state, params, value):
    return rule.update(grads, state, params, grad_fn=lambda p, _: jax.grad(plain_loss)(p))


c = optax.contrib
RULES = {
    "sam": (lambda: c.sam(optax.sgd(0.05), optax.chain(c.normalize(), optax.sgd(0.1))), bare),
    "sam in a chain": (lambda: optax.chain(optax.clip(5.0), c.sam(optax.sgd(0.05), optax.sgd(0.01))), bare),
    "opaque sam": (lambda: c.sam(optax.sgd(0.05), optax.sgd(0.01), opaque_mode=True), opaque),
    "inject": (lambda: optax.inject_hyperparams(optax.adamw)(0.1, weight_decay=0.2), bare),
    "params": (lambda: c.prodigy(0.5), bare),
    "trust ratio": (lambda: optax.lamb(0.1), bare),
    "plateau": (lambda: optax.chain(optax.sgd(0.3), c.reduce_on_plateau(0.5, patience=1)), with_value),
    "polyak": (lambda: optax.polyak_sgd(0.5), with_value),
    "lbfgs": (lambda: optax.lbfgs(memory_size=2), searching),
    "backtracking": (lambda: optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(15)), searching),
}


@pytest.mark.parametrize("name", RULES)
def test_steps_are_those_of_its_own_loop(name):
    make, call = RULES[name]
    model = px.Dense.of(W["weight"], W["bias"])
    opt = px.Optimizer(make(), model)

    @px.jit
    def step(model, opt):
        value, grads = px.value_and_grad(loss)(model)
        more = {} if call is bare else {"value": value} if call is with_value else {"value": value, "value_fn": loss}
        opt.update(model, grads, **more)

    for _ in range(5):
        step(model, opt)
    want = plain(make(), 5, call)
    for path, value in want.items():
        assert_close(px.state_dict(model)[path], np.asarray(value), kind="grad", what=path)


def test_what_a_transformation_does_not_take_is_left_out_in_fit_too():
    """``fit`` hands the loss to every rule; one that takes no extra arguments steps without."""
    x = np.ones((4, 1), np.float32)
    model = px.Dense.of(jnp.ones((1, 1)), None)
    rule = optax.chain(c.sam(optax.sgd(0.1), optax.sgd(0.0), sync_period=1))
    px.fit(model, (x, 0 * x), loss=px.losses.mse, optimizer=rule, batch_size=4, progress=False)
    assert float(model.weight[0, 0]) == pytest.approx(0.8)


def test_injected_numbers_are_told_and_set_also_by_traced_ones():
    model = px.Dense.of(W["weight"], W["bias"])
    opt = px.Optimizer(optax.inject_hyperparams(optax.sgd)(learning_rate=0.1, momentum=0.5), model)
    assert opt.numbers() == pytest.approx({"learning_rate": 0.1, "momentum": 0.5})
    opt.adjust(momentum=0.0)
    own = px.Optimizer(px.optim.chain(px.optim.ClipNorm(1e9), px.optim.Descent(0.1)), twin := px.copy(model))

    @px.jit
    def step(model, opt, rate):
        opt.adjust(learning_rate=rate * 2)
        opt.update(model, px.grad(loss)(model))

    for rate in (0.01, 0.02):
        grads, before = px.grad(loss)(model), np.asarray(model.weight)
        for one, by in ((model, opt), (twin, own)):
            step(one, by, jnp.float32(rate))
            assert by.learning_rate == pytest.approx(2 * rate)
            assert_close(one.weight, before - 2 * rate * np.asarray(grads.weight), kind="grad")
    assert len(step.history.traces) == 2
