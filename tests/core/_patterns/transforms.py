"""Every transform twice: on Modules with px, and on the pure view with plain JAX.

A px combinator turns ``f(model, x) -> y`` into another such function that applies its transform to f, with the Module
as argument, built inside and returned. Its pure twin does the same to ``p(params, state, x) -> (y, state)``. Both nest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from registry import normal, spread

Fn = Callable[[Any, Any], Any]
Pure = Callable[[Any, Any, Any], tuple[Any, Any]]


class Net(px.Module):
    """Weights, statistics and a random key."""

    def __init__(self) -> None:
        self.dense = px.Dense(2, 2, key=0)
        self.norm = px.BatchNorm(2, px.tanh)
        self.drop = px.Dropout(0.4, key=1)

    def __call__(self, x: Any) -> Any:
        return self.drop(self.norm(self.dense(x)))


def net(*, norm_infers: bool = False) -> Net:
    model = spread(Net())
    if norm_infers:
        px.testmode(model.norm)
    return model


X = np.array([[0.3, -1.2], [1.5, 0.8], [-0.4, 0.9], [2.0, -0.7]])
R, CT = normal(4, 2, seed=5).astype(np.float64), normal(4, 2, seed=6).astype(np.float64)
ROUNDS = np.array([1.0, 0.6])
DIRECTION = {"dense.weight": normal(2, 2, seed=7), "norm.scale": normal(2, seed=8), "norm.bias": normal(2, seed=9)}


def scalar(y: Any) -> Any:
    """A loss that tells all elements apart."""
    return jnp.sum(jnp.sin(y) * R)


def weighed(arrays: dict[str, Any]) -> Any:
    """A scalar of gradients by path, each element with a weight of its own."""
    total = jnp.zeros(())
    for path, v in sorted(arrays.items()):
        shift = sum(map(ord, path)) % 7
        total = total + jnp.sum(v * jnp.cos(jnp.arange(v.size) + shift).reshape(v.shape))
    return total


# --- the Module as argument, built inside, returned ----------------------------------------------------


def parts(f: Fn) -> Callable[[Any, Any], tuple[Any, Any, Any]]:
    """f, which also returns the Module it was given and one that it built."""
    return lambda m, x: (f(m, x), m, px.Dense.of(2 * m.dense.weight))


def used(model: Any, y: Any, back: Any, fresh: Any) -> Any:
    """What came back: the given Module as itself, and the new one, whose weights are used."""
    assert back is model
    assert type(fresh) is px.Dense
    return y + 0.1 * fresh.weight.sum()


def tail(params: Any) -> Any:
    return 0.2 * params["dense.weight"].sum()


def px_jit(f: Fn) -> Fn:
    return lambda m, x: used(m, *px.jit(parts(f))(m, x))


def pure_jit(p: Pure) -> Pure:
    def run(params: Any, state: Any, x: Any) -> Any:
        y, state = jax.jit(p)(params, state, x)
        return y + tail(params), state

    return run


def px_remat(f: Fn) -> Fn:
    return lambda m, x: used(m, *px.remat(parts(f))(m, x))


def pure_remat(p: Pure) -> Pure:
    def run(params: Any, state: Any, x: Any) -> Any:
        y, state = jax.checkpoint(p)(params, state, x)
        return y + tail(params), state

    return run


def px_grad(f: Fn) -> Fn:
    def run(m: Any, x: Any) -> Any:
        def loss(m: Any, x: Any) -> Any:
            y, *rest = parts(f)(m, x)
            return scalar(y), rest

        (value, rest), grads = px.value_and_grad(loss, has_aux=True)(m, x)
        return used(m, x * (value + weighed(px.paths(grads))), *rest)

    return run


def pure_grad(p: Pure) -> Pure:
    def run(params: Any, state: Any, x: Any) -> Any:
        def loss(params: Any) -> Any:
            y, after = p(params, state, x)
            return scalar(y), after

        (value, after), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return x * (value + weighed(grads)) + tail(params), after

    return run


def px_vjp(f: Fn) -> Fn:
    def run(m: Any, x: Any) -> Any:
        def split_off(m: Any, x: Any) -> Any:
            y, *rest = parts(f)(m, x)
            return y, rest

        y, pull, rest = px.vjp(split_off, m, x, has_aux=True)
        for_model, for_x = pull(jnp.asarray(CT))
        return used(m, y + for_x + weighed(px.paths(for_model)), *rest)

    return run


def pure_vjp(p: Pure) -> Pure:
    def run(params: Any, state: Any, x: Any) -> Any:
        y, pull, after = jax.vjp(lambda params, x: p(params, state, x), params, x, has_aux=True)
        for_model, for_x = pull(jnp.asarray(CT))
        return y + for_x + weighed(for_model) + tail(params), after

    return run


def px_jvp(f: Fn) -> Fn:
    def run(m: Any, x: Any) -> Any:
        out, (slope, *_) = px.jvp(parts(f), (m, x), (DIRECTION, CT))
        y, *rest = out
        return used(m, y + slope, *rest)

    return run


def pure_jvp(p: Pure) -> Pure:
    def run(params: Any, state: Any, x: Any) -> Any:
        along = {k: jnp.asarray(DIRECTION.get(k, np.zeros(v.shape)), v.dtype) for k, v in params.items()}
        y, slope, after = jax.jvp(
            lambda params, x: p(params, state, x), (params, x), (along, jnp.asarray(CT)), has_aux=True
        )
        return y + slope + tail(params), after

    return run


def px_jacobian(f: Fn) -> Fn:
    def run(m: Any, x: Any) -> Any:
        for_model, for_x = px.jacobian(lambda m, x: f(m, x).sum(0), (0, 1))(m, x)
        return jnp.einsum("kij->ij", for_x) + weighed(px.paths(for_model))

    return run


def pure_jacobian(p: Pure) -> Pure:
    def run(params: Any, state: Any, x: Any) -> Any:
        def rows(params: Any, x: Any) -> Any:
            y, after = p(params, state, x)
            return y.sum(0), after

        (for_model, for_x), after = jax.jacrev(rows, (0, 1), has_aux=True)(params, x)
        return jnp.einsum("kij->ij", for_x) + weighed(for_model), after

    return run


def px_hessian(f: Fn) -> Fn:
    def run(m: Any, x: Any) -> Any:
        return x * weighed(px.paths(px.hessian(lambda m: scalar(f(m, x)))(m)))

    return run


def pure_hessian(p: Pure) -> Pure:
    def run(params: Any, state: Any, x: Any) -> Any:
        def slope(params: Any) -> Any:
            def loss(params: Any) -> Any:
                y, after = p(params, state, x)
                return scalar(y), after

            return jax.grad(loss, has_aux=True)(params)

        rows, after = jax.jacfwd(slope, has_aux=True)(params)
        return x * weighed({f"{a}.{b}": v for a, row in rows.items() for b, v in row.items()}), after

    return run


# --- over an axis, in loops, by a condition --------------------------------------------------------------


def px_vmap(f: Fn) -> Fn:
    """One model for two examples: its key is split, its other State may not be written."""

    def run(m: Any, x: Any) -> Any:
        y, back, fresh = px.vmap(parts(f), in_axes=(None, 0))(m, jnp.stack([x, 1 - x]))
        assert fresh.weight.shape == (2, 2, 2)
        return used(m, y.sum(0), back, fresh)

    return run


def is_key(v: Any) -> bool:
    return jnp.issubdtype(v.dtype, jax.dtypes.prng_key)


def pure_vmap(p: Pure, *, draws: bool = True) -> Pure:
    def run(params: Any, state: Any, x: Any) -> Any:
        rows = {k: jax.random.split(v, 3) for k, v in state.items() if is_key(v)}
        one = lambda keys, x: p(params, state | keys, x)[0]  # noqa: E731
        y = jax.vmap(one)({k: v[1:] for k, v in rows.items()}, jnp.stack([x, 1 - x]))
        kept = {k: v[0] for k, v in rows.items()} if draws else {}
        return y.sum(0) + 2 * tail(params), state | kept

    return run


def px_stack(f: Fn) -> Fn:
    """Two models, stacked, each with its own example and its own State."""

    def run(m: Any, x: Any) -> Any:
        stack = px.map(lambda v: jnp.stack([v, v]), m)
        y, back, fresh = px.vmap(parts(f))(stack, jnp.stack([x, 1 - x]))
        return used(stack, y.sum(0), back, fresh) + stack.norm.mean.sum() + 3 * stack.norm.var.sum()

    return run


def pure_stack(p: Pure) -> Pure:
    def run(params: Any, state: Any, x: Any) -> Any:
        two = jax.tree.map(lambda v: jnp.stack([v, v]), (params, state))
        y, after = jax.vmap(p)(*two, jnp.stack([x, 1 - x]))
        return y.sum(0) + 2 * tail(params) + after["norm.mean"].sum() + 3 * after["norm.var"].sum(), state

    return run


def px_scan(f: Fn) -> Fn:
    def run(m: Any, x: Any) -> Any:
        def body(carry: Any, t: Any) -> Any:
            y, m, fresh = parts(f)(carry[0], carry[1] * t)
            return (m, y), (y.sum(), fresh)

        (back, h), (sums, fresh) = px.scan(body, (m, x), jnp.asarray(ROUNDS))
        return used(m, h + sums.sum(), back, fresh)

    return run


def pure_scan(p: Pure) -> Pure:
    def run(params: Any, state: Any, x: Any) -> Any:
        def body(carry: Any, t: Any) -> Any:
            y, state = p(params, carry[0], carry[1] * t)
            return (state, y), y.sum()

        (state, h), sums = jax.lax.scan(body, (state, x), jnp.asarray(ROUNDS))
        return h + sums.sum() + 2 * tail(params), state

    return run


def px_cond(f: Fn) -> Fn:
    def run(m: Any, x: Any) -> Any:
        skip = parts(lambda m, x: x - 1.0)
        first = px.cond(x.sum() > 0, parts(f), skip, m, x)
        second = px.cond(x.sum() > 0, skip, parts(f), m, x)
        return used(m, *first) + used(m, *second)

    return run


def pure_cond(p: Pure) -> Pure:
    def run(params: Any, state: Any, x: Any) -> Any:
        skip = lambda params, state, x: (x - 1.0, state)  # noqa: E731
        y, state = jax.lax.cond(x.sum() > 0, p, skip, params, state, x)
        z, state = jax.lax.cond(x.sum() > 0, skip, p, params, state, x)
        return y + z + 2 * tail(params), state

    return run


def px_while_loop(f: Fn) -> Fn:
    def run(m: Any, x: Any) -> Any:
        def body(carry: Any) -> Any:
            m, h, n = carry
            return m, f(m, h), n + 1

        back, h, _ = px.while_loop(lambda c: c[2] < 2, body, (m, x, 0))
        assert back is m
        return h

    return run


def pure_while_loop(p: Pure) -> Pure:
    def run(params: Any, state: Any, x: Any) -> Any:
        def body(carry: Any) -> Any:
            state, h, n = carry
            h, state = p(params, state, h)
            return state, h, n + 1

        state, h, _ = jax.lax.while_loop(lambda c: c[2] < 2, body, (state, x, 0))
        return h, state

    return run


def px_custom_vjp(f: Fn) -> Fn:
    """A rule that is not the true gradient, so that it is seen to be used."""
    rule = px.custom_vjp(parts(f))

    def backward(residuals: Any, cotangents: Any) -> Any:
        (y_bar, *_), (x,) = cotangents, residuals
        return {"dense.weight": jnp.full((2, 2), y_bar.sum())}, 2 * y_bar + x

    rule.defvjp(lambda m, x: (parts(f)(m, x), (x,)), backward)
    return lambda m, x: used(m, *rule(m, x))


def pure_custom_vjp(p: Pure) -> Pure:
    rule = jax.custom_vjp(lambda params, state, x: (*p(params, state, x), 2 * params["dense.weight"]))

    def forward(params: Any, state: Any, x: Any) -> Any:
        return (*p(params, state, x), 2 * params["dense.weight"]), (params, x)

    def backward(residuals: Any, cotangents: Any) -> Any:
        params, x = residuals
        y_bar = cotangents[0]
        zero = {k: jnp.zeros_like(v) for k, v in params.items()}
        return zero | {"dense.weight": jnp.full((2, 2), y_bar.sum())}, None, 2 * y_bar + x

    rule.defvjp(forward, backward)

    def run(params: Any, state: Any, x: Any) -> Any:
        y, state, fresh = rule(params, state, x)
        return y + 0.1 * fresh.sum(), state

    return run


NAMES = (
    "jit",
    "grad",
    "vjp",
    "jvp",
    "jacobian",
    "hessian",
    "vmap",
    "stack",
    "scan",
    "cond",
    "while_loop",
    "remat",
    "custom_vjp",
)
PX: dict[str, Callable[[Fn], Fn]] = {n: globals()[f"px_{n}"] for n in NAMES}
PURE: dict[str, Callable[[Pure], Pure]] = {n: globals()[f"pure_{n}"] for n in NAMES}
DIFFERENTIATING = ("grad", "vjp", "jvp", "jacobian", "hessian")
REVERSE = ("grad", "vjp", "jacobian", "hessian")
COLLECTING = ("scan", "cond", "while_loop", "remat")


def sensible(outer: str, inner: str) -> bool:
    """What JAX itself can do: no reverse mode through a loop without end, no forward mode through a reverse rule."""
    return not (inner == "while_loop" and outer in REVERSE) and not (inner == "custom_vjp" and outer == "jvp")
