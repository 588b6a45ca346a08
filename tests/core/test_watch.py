"""The first layer that gives a NaN or an infinity: models broken on purpose, at a place that is known."""

import jax
import jax.numpy as jnp
import pytest

import phlox as px


def broken(act, where=1):
    layers = [px.Dense.of(jnp.eye(2), None) for _ in range(3)]
    layers[where] = px.Dense.of(jnp.eye(2), None, act)
    return px.Chain(*layers)


X = jnp.array([[-1.0, 2.0], [0.0, 3.0]])


def test_the_first_layer_forward():
    model = broken(jnp.log)
    with px.watch_nonfinite(), pytest.raises(px.NonFiniteError) as caught:
        model(X)
    text = str(caught.value)
    assert text.startswith(
        "model.layers[1] Dense(2 → 2, log) expects finite values, got 2 of 4 NaN or infinite in its "
    )
    assert "output (forward), float32[2, 2]\n  fix: " in text


def test_a_parameter_that_is_not_finite_is_named():
    model = broken(px.relu)
    model[2].weight = model[2].weight.at[0, 0].set(jnp.nan)
    with (
        px.watch_nonfinite(),
        pytest.raises(px.NonFiniteError, match=r"model\.layers\[2\] .*; its weight is not finite"),
    ):
        model(X)


def test_backward_where_the_forward_pass_is_finite():
    model = broken(lambda x: jnp.sqrt(jnp.abs(x)))  # the slope of sqrt at 0 is infinite
    loss = lambda m: (m(X) ** 2).sum()  # noqa: E731
    assert not jnp.isfinite(px.grad(loss)(model)[0].weight).all()
    with px.watch_nonfinite(), pytest.raises(px.NonFiniteError) as caught:
        px.grad(loss)(model)
    text = str(caught.value)
    assert "layers[0] Dense(2 → 2) expects finite values" in text  # the gradient of its output is the first bad one
    assert "in the gradient of its output (backward)" in text
    assert "sqrt, log, division and norms at 0" in text


@pytest.mark.parametrize("act", [jnp.log, lambda x: jnp.sqrt(jnp.abs(x))])
def test_inside_a_compiled_training_step(act):
    @px.jit
    def step(model, opt, x):
        loss, grads = px.value_and_grad(lambda m: (m(x) ** 2).sum())(model)
        opt.update(model, grads)
        return loss

    model = broken(act)
    opt = px.Optimizer(px.optim.Descent(0.1), model)
    before = px.state_dict(model)
    with px.watch_nonfinite(), pytest.raises(px.NonFiniteError, match=r"layers\[[01]\] Dense\(2 → 2"):
        step(model, opt, X)
    after = px.state_dict(model)
    assert all(after[k] is before[k] for k in before)  # the step never came to write
    healthy = broken(px.tanh)
    opt = px.Optimizer(px.optim.Descent(0.1), healthy)
    with px.watch_nonfinite():
        watched = step(healthy, opt, X)
    assert jnp.isfinite(watched)


def test_healthy_models_give_the_same_numbers_and_gradients():
    model = broken(px.tanh)
    loss = lambda m: (m(X) ** 2).sum()  # noqa: E731
    value, grads = px.value_and_grad(loss)(model)
    with px.watch_nonfinite():
        watched, same = px.value_and_grad(loss)(model)
    assert watched == value
    assert all((a == b).all() for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(same), strict=True))


def test_infinities_integers_and_trees():
    class Forked(px.Module):
        def __call__(self, x):
            return {"count": jnp.arange(3), "none": None, "y": [x, x / 0.0]}

    forked = Forked()
    with (
        px.watch_nonfinite(),
        pytest.raises(px.NonFiniteError, match="forked Forked expects finite values, got 2 of 2"),
    ):
        forked(jnp.ones(2))


def test_outside_the_block_nothing_is_looked_at():
    model = broken(jnp.log)
    with px.watch_nonfinite():
        pass
    assert not jnp.isfinite(model(X)).all()
    with pytest.raises(px.NonFiniteError), px.watch_nonfinite():
        model(X)
    assert not jnp.isfinite(px.jit(lambda m, x: m(x))(model, X)).all()
    assert issubclass(px.NonFiniteError, FloatingPointError)


def test_together_with_capture():
    model = broken(px.tanh)
    with px.watch_nonfinite():
        assert list(px.capture(model, X)) == ["layers.0", "layers.1", "layers.2", ""]


def test_inside_scan():
    class Loop(px.Module):
        def __init__(self, act):
            self.cell = px.Dense.of(jnp.eye(2), None, act)

        def __call__(self, x):
            return px.scan(lambda h, _: (self.cell(h), None), x, None, 3)[0]

    loop = Loop(lambda x: 1e20 * x**3)
    with px.watch_nonfinite(), pytest.raises(px.NonFiniteError, match=r"m\.cell Dense"):
        px.jit(lambda m, x: m(x))(loop, X + 5)


def test_around_a_map_it_is_the_module_that_maps():
    class Maps(px.Module):
        def __init__(self):
            self.first, self.inner = px.Dense.of(jnp.eye(2), None), broken(jnp.log)

        def __call__(self, x):
            return px.vmap(lambda row: self.inner(row))(self.first(x))

    maps = Maps()
    with px.watch_nonfinite(), pytest.raises(px.NonFiniteError, match=r"^m Maps expects finite values"):
        px.jit(lambda m, x: m(x))(maps, X)
