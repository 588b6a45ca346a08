"""Backward passes read Modules after the forward's scope has ended: the same numbers eager and compiled."""

import jax
import jax.numpy as jnp
import pytest

import phlox as px
from kit import assert_close

X = jnp.array([[1.0, 2.0]])


class Base(px.Module):
    """Its gradient is doubled on the way back, by State."""

    k: px.State

    def __init__(self):
        self.dense = px.Dense.of(jnp.eye(2), jnp.zeros(2))
        self.k = jnp.array(2.0)


class Hook(Base):
    def __call__(self, x):
        return px.gradient_hook(self.dense(x), lambda g: g * self.k)


class Plain(Base):
    def __call__(self, x):
        rule = jax.custom_vjp(lambda v: v)
        rule.defvjp(lambda v: (v, None), lambda _, g: (g * self.k,))
        return rule(self.dense(x))


class Rule(Base):
    def __call__(self, x):
        rule = px.custom_vjp(lambda v: v)
        rule.defvjp(lambda v: (v, None), lambda _, g: (g * self.k,))
        return rule(self.dense(x))


@pytest.mark.parametrize("kind", [Hook, Plain, Rule])
def test_a_backward_rule_reads_its_module(kind):
    def loss(m):
        return m(X).sum()

    compiled = px.jit(px.grad(loss))
    for k in (2.0, 3.0):
        model = kind()
        model.k = jnp.array(k)
        for grad in (px.grad(loss), compiled, px.jit(lambda m: px.grad(loss)(m))):
            found = grad(model)
            assert_close(found.dense.bias, jnp.array([k, k]))
            assert_close(found.dense.weight, k * jnp.stack([X[0], X[0]], 1))
    many = px.jit(px.grad(lambda m: px.vmap(m)(jnp.stack([X] * 3)).sum()))(kind())
    assert_close(many.dense.bias, jnp.array([6.0, 6.0]))


class Root(px.Module):
    """y with k·y² = w, whose derivative in w is 1 / (2·k·y), by the implicit function theorem."""

    k: px.State

    def __init__(self):
        self.w, self.k = jnp.array(3.0), jnp.array(2.0)

    def __call__(self):
        def newton(f, y):
            return jax.lax.fori_loop(0, 20, lambda _, y: y - f(y) / (2 * self.k * y), y)

        return jax.lax.custom_root(
            lambda y: self.k * y**2 - self.w, jnp.array(1.0), newton, lambda g, y: y / g(jnp.array(1.0))
        )


class Solve(px.Module):
    """b / (w·k), whose derivative in w is -b / (w²·k)."""

    k: px.State

    def __init__(self):
        self.w, self.k = jnp.array(3.0), jnp.array(2.0)

    def __call__(self):
        def solve(_, b):
            return b / (self.w * self.k)

        return jax.lax.custom_linear_solve(lambda v: v * self.w * self.k, jnp.array(6.0), solve, solve)


@pytest.mark.parametrize(("kind", "slope"), [(Root, 1 / (4 * 1.5**0.5)), (Solve, -6 / 18)])
def test_implicit_derivatives_of_a_module(kind, slope):
    for grad in (px.grad(kind.__call__), px.jit(px.grad(kind.__call__))):
        assert_close(grad(kind()).w, slope, kind="grad")


def test_what_came_from_outside_the_compiled_function_is_still_refused():
    model = Hook()
    with pytest.raises(px.CaptureError, match=r"px.constant\(model\)"):
        px.jit(px.grad(lambda x: px.gradient_hook(x, lambda g: g * model.k).sum()))(X)
    box: list = []
    px.jit(lambda m: box.append(m))(model)
    with pytest.raises(px.CaptureError, match="freeze"):
        px.jit(lambda x: x * box[0].k)(X)


def test_a_backward_rule_may_not_write():
    class Writes(Base):
        def __call__(self, x):
            def hook(_):
                self.k = self.k + 1

            return px.gradient_hook(self.dense(x), hook)

    for grad in (px.grad, lambda f: px.jit(px.grad(f))):
        model = Writes()
        with pytest.raises(px.StateError, match=r"\.k"):
            grad(lambda m: m(X).sum())(model)
        assert float(model.k) == 2
