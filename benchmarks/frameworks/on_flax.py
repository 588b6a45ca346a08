"""Flax NNX: nnx.jit, nnx.cached_partial, and the functional loop in a lax.scan."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from workloads import RATE, Workload

from frameworks import on_jax
from frameworks._contender import Contender, Form, one_by_one

start, product = on_jax.start, on_jax.product


def contender(workload: Workload, form: Form, half: bool) -> Contender:
    model, data = workload.models["flax"](nnx.Rngs(0)), workload.data()
    parameters = sum(a.size for a in jax.tree.leaves(nnx.state(model, nnx.Param)))

    def call(model: Any, x: jax.Array) -> jax.Array:
        if not half:
            return model(x)
        graphdef, params, rest = nnx.split(model, nnx.Param, ...)
        lowered = nnx.merge(graphdef, on_jax.lower(params), rest)
        y = lowered(on_jax.lower(x))
        nnx.update(model, nnx.state(lowered, nnx.Not(nnx.Param)))
        return y

    if workload.infers:
        model.eval()
        forward = nnx.cached_partial(nnx.jit(call), model)
        return Contender(one_by_one(forward, [(jnp.array(x),) for x, _ in data]), parameters)

    model.train()
    opt = nnx.Optimizer(model, optax.adam(RATE), wrt=nnx.Param)

    def step(model: Any, opt: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        loss, grads = nnx.value_and_grad(lambda model: on_jax.cross_entropy(call(model, x), y))(model)
        opt.update(model, grads)
        return loss

    if form.many:
        return Contender(_scanned(step, model, opt, form, data), parameters)
    jitted = nnx.jit(step, donate_argnums=(0, 1))
    if form.kind == "cached_partial":
        take = nnx.cached_partial(jitted, model, opt)
    else:
        take = lambda x, y: jitted(model, opt, x, y)  # noqa: E731
    return Contender(one_by_one(take, [(jnp.array(x), jnp.array(y)) for x, y in data]), parameters)


def _scanned(step: Any, model: Any, opt: Any, form: Form, data: list[Any]) -> Any:
    graphdef, state = nnx.split((model, opt))

    def pure(state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
        model, opt = nnx.merge(graphdef, state)
        loss = step(model, opt, x, y)
        return nnx.state((model, opt)), loss

    return on_jax.train(pure, state, form, data)
