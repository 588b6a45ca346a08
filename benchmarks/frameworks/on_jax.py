"""Plain JAX: a flat dict of arrays, optax's Adam, a donated jax.jit; many steps are a lax.scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from workloads import RATE, Workload
from workloads._plain_jax import Net

from frameworks._contender import Contender, Form, in_chunks, one_by_one


def start(form: Form) -> None:
    del form
    jax.block_until_ready(jnp.zeros(1) + 1)


def product(size: int) -> Callable[[], Any]:
    """A product of square matrices, waited for."""
    a = jnp.array(np.random.default_rng(0).normal(size=(size, size)), jnp.float32)
    dot: Any = jax.jit(jnp.matmul)
    return lambda: jax.block_until_ready(dot(a, a))


def lower(tree: Any) -> Any:
    """A tree of arrays with its floats in half precision."""
    return jax.tree.map(lambda a: a.astype(jnp.bfloat16) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), y).mean()


def contender(workload: Workload, form: Form, half: bool) -> Contender:
    model, data = workload.models["jax"], workload.data()
    params, stats = Net.initial(model, data[0][0])
    parameters = sum(a.size for a in params.values())

    def forward(params: Any, stats: Any, x: jax.Array, train: bool) -> tuple[jax.Array, Any]:
        net = Net(lower(params) if half else params, stats, train)
        y = model(net, lower(x) if half else x)
        return y, net.stats

    if workload.infers:
        infer = jax.jit(lambda params, stats, x: forward(params, stats, x, False)[0])
        run = one_by_one(lambda x: infer(params, stats, x), [(jnp.array(x),) for x, _ in data])
        return Contender(run, parameters)

    adam = optax.adam(RATE)

    def step(state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
        def loss_fn(params: Any) -> tuple[jax.Array, Any]:
            logits, new = forward(params, stats, x, True)
            return cross_entropy(logits, y), new

        params, moments, stats = state
        (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        updates, moments = adam.update(grads, moments, params)
        return (optax.apply_updates(params, updates), moments, stats), loss

    return Contender(train(step, (params, adam.init(params), stats), form, data), parameters)


def train(step: Any, state: Any, form: Form, data: list[Any]) -> Any:
    """Run a pure step, one by one or scanned, with its state donated."""

    def scan(state: Any, xs: jax.Array, ys: jax.Array) -> Any:
        return jax.lax.scan(lambda state, batch: step(state, *batch), state, (xs, ys))

    compiled = jax.jit(scan if form.many else step, donate_argnums=0)

    def take(x: jax.Array, y: jax.Array) -> jax.Array:
        nonlocal state
        state, loss = compiled(state, x, y)
        return loss

    if form.many:
        return in_chunks(take, len(data), *[jnp.array(np.stack(part)) for part in zip(*data, strict=True)])
    return one_by_one(take, [(jnp.array(x), jnp.array(y)) for x, y in data])
