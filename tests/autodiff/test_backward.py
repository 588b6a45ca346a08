"""px.autodiff.backward: what it prints, what it refuses, loops, second order, and cotangents rewritten."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import phlox as px

X = jnp.array([0.5, -1.0, 2.0])


def mlp():
    with px.seed(0):
        return px.Chain(px.Dense(3, 4, px.tanh), px.Dense(4, 2))


def loss(model, x):
    return jnp.sum(model(x) ** 2)


def paths(grads):
    return {path: np.asarray(v) for path, v in px.paths(grads).items()}


def test_the_program_of_an_mlp_names_layers_costs_and_formulas():
    model, x = mlp(), jnp.ones((5, 3))
    program = px.autodiff.backward(loss, model, x)
    back = [(r.text, r.layer, r.flops, r.nbytes) for r in program.rows if r.direction == "back"]
    assert ("∂c = ∂d * (1 - d * d)", "layers.0", 3 * 5 * 4, 4 * 5 * 4) in back
    assert ("∂layers.1.weight = dot(d, ∂e)", "layers.1", 2 * 5 * 4 * 2, 4 * 4 * 2) in back
    assert ("∂d = dot(∂e, layers.1.weight)", "layers.1", 2 * 5 * 4 * 2, 4 * 5 * 4) in back
    assert back[1][0] == "∂g = ∂h * 2 * g**(2 - 1)"
    assert back[-1][0].startswith("∂layers.0.weight = dot(x, ∂a)")
    forward = [(r.text, r.layer) for r in program.rows if r.direction == "forward"]
    assert forward[0] == ("a = dot_general(x, layers.0.weight)", "layers.0")
    assert not any(r.text.startswith("∂x ") for r in program.rows)  # it is not differentiated
    text = str(program).splitlines()
    assert text[0].split() == ["forward", "value", "layer", "flops"]
    assert len(text) == len(program.rows) + 2


def test_a_program_runs_on_other_numbers_and_moves_state_as_px_grad_does():
    with px.seed(1):
        model = px.Chain(px.Dense(3, 4), px.BatchNorm(4), px.Dropout(0.5), px.Dense(4, 2))
    twin, x = px.copy(model), jnp.arange(15.0).reshape(5, 3)
    program = px.autodiff.backward(loss, model, jnp.ones((5, 3)))
    assert px.state_dict(model)["layers.1.mean"].tolist() == [0.0] * 4  # written, not run
    for _ in range(2):
        value, grads = program(model, x)
        value2, grads2 = px.value_and_grad(loss)(twin, x)
        np.testing.assert_allclose(value, value2, rtol=1e-5)
        ours, theirs = paths(grads), paths(grads2)
        assert list(ours) == list(theirs)
        for path in ours:
            np.testing.assert_allclose(ours[path], theirs[path], rtol=1e-4, atol=1e-4, err_msg=path)
    moved, expected = px.split(model)[1], px.split(twin)[1]
    np.testing.assert_allclose(moved["layers.1.var"], expected["layers.1.var"], rtol=1e-5)
    assert jax.random.key_data(moved["layers.2.key"]).tolist() == jax.random.key_data(expected["layers.2.key"]).tolist()


def test_arguments_of_another_shape_are_refused():
    program = px.autodiff.backward(loss, mlp(), jnp.ones((5, 3)))
    with pytest.raises(
        px.StructureError,
        match=re.escape("expects float32[5, 3], got float32[6, 3]\n  fix: write a program for these arguments"),
    ):
        program(mlp(), jnp.ones((6, 3)))


def by_groups(x):
    return lax.ragged_dot(x, jnp.ones((2, 3, 3)), jnp.array([2, 3]))


class Grouped(px.Module):
    def __call__(self, x):
        return by_groups(x)


def test_an_operation_without_a_rule_is_named_with_its_layer():
    model = px.Chain(px.Dense(3, 3), Grouped())
    with pytest.raises(px.StructureError) as caught:
        px.autodiff.backward(loss, model, jnp.ones((5, 3)))
    found = re.match(
        r"layers\.1 Grouped expects a rule for each operation that a gradient passes, got ragged_dot_general, which",
        str(caught.value),
    )
    assert found, str(caught.value)
    assert 'rewrite={"ragged_dot_general": rule}' in str(caught.value)
    x = jnp.ones((1, 5, 3))
    with pytest.raises(px.StructureError, match="got ragged_dot_general, which has none"):  # nor is it unseen in a loop
        px.autodiff.backward(lambda x: jnp.sum(lax.map(by_groups, x)), x)(x)


@pytest.mark.parametrize(
    ("fn", "x", "text"),
    [
        (
            lambda u: jnp.ones(3).at[jnp.array([1, 1])].multiply(u),
            np.ones(2, np.float32),
            "got scatter-mul by factors that may meet at one place",
        ),
        (
            lambda a: lax.linalg.eigh(a, subset_by_index=(0, 2), sort_eigenvalues=False)[1],
            np.eye(3, dtype=np.float32),
            "got eigh of some eigenvalues",
        ),
        (lambda a: lax.linalg.svd(a)[0], np.ones((3, 2), np.float32), "got svd, of which JAX says: "),
        (lambda m: lax.polygamma(m, m), np.ones(2, np.float32), "got polygamma, of which JAX says: "),
        (
            lambda b: lax.custom_linear_solve(lambda v: 2 * v, b, lambda mv, v: v / 2),
            np.ones(2, np.float32),
            "got a linear solve without transpose_solve",
        ),
    ],
    ids=["scatter_mul", "eigh", "svd", "polygamma", "custom_linear_solve"],
)
def test_where_a_rule_ends_the_operation_and_the_layer_are_named(fn, x, text):
    class Layer(px.Module):
        def __call__(self, x):
            return fn(x)

    program = px.autodiff.backward(lambda model, x: jnp.sum(model(x)), px.Chain(Layer()), x, argnums=1)
    with pytest.raises(px.StructureError, match=re.escape("layers.0 expects operations whose slope is known, " + text)):
        program(px.Chain(Layer()), x)


def test_no_rule_is_needed_where_no_gradient_passes():
    def fn(x, y):
        return jnp.sum(x * lax.stop_gradient(by_groups(y)[:3]))

    _, grad = px.autodiff.backward(fn, jnp.eye(3), jnp.ones((5, 3)))(jnp.eye(3), jnp.ones((5, 3)))
    assert grad.tolist() == np.full((3, 3), 3.0).tolist()


def test_a_while_loop_is_walked_back_as_often_as_it_went_round():
    def doubled_until(x, limit):  # jax.grad refuses it: the rounds are known to those who run it alone
        return lax.while_loop(lambda c: c[1] < limit, lambda c: (c[0] * x, c[1] * 2.0, c[2] + 1), (x, 1.0, 0))[0]

    program = px.autodiff.backward(doubled_until, 3.0, jnp.asarray(8.0))
    for limit, rounds in ((8.0, 3), (1.0, 0), (50.0, 6)):
        value, grad = program(1.5, jnp.asarray(limit))
        np.testing.assert_allclose(value, 1.5 ** (rounds + 1), rtol=1e-6)
        np.testing.assert_allclose(grad, (rounds + 1) * 1.5**rounds, rtol=1e-6)
    with pytest.raises(px.StructureError, match="while loops whose number of rounds is known"):
        jax.jit(lambda x, limit: program(x, limit))(1.5, 8.0)


def test_a_rule_of_the_users_own_is_the_one_that_is_taken():
    @px.custom_vjp
    def clipped(x):
        return jnp.sin(x)

    clipped.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (jnp.clip(g, -0.1, 0.1) * x,))

    def fn(x):
        return jnp.sum(clipped(x) * jnp.arange(3.0))

    _, grad = px.autodiff.backward(fn, X)(X)
    np.testing.assert_allclose(grad, jnp.clip(jnp.arange(3.0), -0.1, 0.1) * X, rtol=1e-6)


def test_gradients_of_gradients_go_through_it_both_ways():
    with jax.enable_x64(True):
        x = jnp.asarray(np.linspace(-1, 2, 5))

        def energy(x):
            ys = lax.scan(lambda c, v: (jnp.tanh(c * v) + jax.nn.softplus(v), c * c), x[0], x)[1]
            return jnp.sum(ys * jnp.exp(-x)) + jnp.max(x) ** 3

        first = px.autodiff.backward(energy, x)
        wanted = jax.jit(jax.hessian(energy))(x) @ jnp.arange(5.0)
        by_jax = jax.jit(jax.grad(lambda x: jnp.vdot(first(x)[1], jnp.arange(5.0))))(x)
        again = px.autodiff.backward(lambda x: jnp.vdot(first(x)[1], jnp.arange(5.0)), x)
        np.testing.assert_allclose(by_jax, wanted, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(again(x)[1], wanted, rtol=1e-10, atol=1e-10)


def test_a_cotangent_is_clipped_scaled_looked_at_or_stopped_at_a_path():
    model, x, seen = mlp(), jnp.ones((5, 3)), []
    plain = paths(px.grad(loss)(model, x))

    def gradients(**rewrite):
        return paths(px.autodiff.backward(loss, model, x, rewrite=rewrite)(model, x)[1])

    doubled = gradients(**{"layers.0": lambda g: 2 * g})
    np.testing.assert_allclose(doubled["layers.0.weight"], 2 * plain["layers.0.weight"], rtol=1e-5)
    np.testing.assert_allclose(doubled["layers.1.weight"], plain["layers.1.weight"], rtol=1e-5)
    stopped = gradients(**{"layers.1": jnp.zeros_like})
    assert not any(v.any() for v in stopped.values())
    clipped = gradients(**{"layers.*.bias": lambda g: jnp.clip(g, -0.01, 0.01)})
    for path, v in clipped.items():
        np.testing.assert_allclose(v, np.clip(plain[path], -0.01, 0.01) if "bias" in path else plain[path], rtol=1e-5)
    looked = gradients(**{"layers.0": lambda g: seen.append(g.shape)})
    assert seen == [(5, 4)]
    np.testing.assert_allclose(looked["layers.0.bias"], plain["layers.0.bias"], rtol=1e-5)


def test_a_rule_is_replaced_inside_loops_too():
    def fn(x):
        return jnp.sum(lax.scan(lambda c, v: (c, jnp.tanh(v)), 0.0, x)[1])

    straight = {"tanh": lambda step, g: [g]}  # the straight-through estimator
    assert px.autodiff.backward(fn, X, rewrite=straight)(X)[1].tolist() == [1.0, 1.0, 1.0]
    program = px.autodiff.backward(lambda x: jnp.tanh(x) * 2, 1.0, rewrite=straight)
    assert [r.text for r in program.rows if r.direction == "back"][-1] == "∂x = a rule that was given, ∂a"


@pytest.mark.parametrize(
    ("rewrite", "error", "text"),
    [
        ({"layers.7": lambda g: g}, px.StructureError, "names of operations, layers or arrays, got 'layers.7'"),
        (
            {"layers.0": lambda g: g[0]},
            px.ShapeError,
            'rewrite={"layers.0": …} expects a cotangent like float32[5, 4], got float32[4]',
        ),
    ],
)
def test_a_wrong_rewrite_is_refused(rewrite, error, text):
    with pytest.raises(error, match=re.escape(text)):
        px.autodiff.backward(loss, mlp(), jnp.ones((5, 3)), rewrite=rewrite)(mlp(), jnp.ones((5, 3)))


def test_two_models_are_told_apart_by_the_names_of_arguments():
    one, two = mlp(), mlp()

    def distance(student, teacher, x):
        return jnp.sum((student(x) - teacher(x)) ** 2)

    program = px.autodiff.backward(distance, one, two, jnp.ones((5, 3)))
    layers = {r.layer for r in program.rows if r.direction == "forward"}
    assert {"student.layers.0", "teacher.layers.1"} <= layers
    assert not any("teacher" in r.layer for r in program.rows if r.direction == "back")


def test_a_value_that_is_no_scalar_is_refused():
    with pytest.raises(px.ShapeError, match=re.escape("a function that returns a scalar")):
        px.autodiff.backward(lambda x: x, X)
