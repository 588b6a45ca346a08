"""Phlox: px.jit, and many steps per dispatch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from workloads import RATE, Workload

import phlox as px
from frameworks._contender import Contender, Form, in_chunks, one_by_one


def start(form: Form) -> None:
    if form.kind == "kept":
        px.keep_freed_memory()
    jax.block_until_ready(jnp.zeros(1) + 1)


def product(size: int) -> Callable[[], Any]:
    """A product of square matrices, waited for: as a convolution over single pixels, which a kernel of ours does."""
    x = jnp.array(np.random.default_rng(0).normal(size=(1, 32, size // 32, size)), jnp.float32)
    with px.seed(0):
        conv = px.Conv((1, 1), size, size, bias=False)
    forward = px.jit(lambda conv, x: conv(x))
    return lambda: jax.block_until_ready(forward(conv, x))


def rates() -> dict[str, float]:
    """Operations a second of a dense layer's product, and bytes a second of a pass over an array in its place."""
    x = jnp.array(np.random.default_rng(0).normal(size=(1024, 1024)), jnp.float32)
    dense: Any = jax.jit(lambda x: px.nn.functional.dense(x, x))
    one_more: Any = jax.jit(lambda x: x + 1, donate_argnums=0)
    seconds: dict[str, list[float]] = {"product": [], "pass": []}
    array = jnp.zeros(1 << 24, jnp.float32)
    for _ in range(20):
        begin = time.perf_counter()
        jax.block_until_ready(dense(x))
        middle = time.perf_counter()
        array = jax.block_until_ready(one_more(array))
        seconds["product"].append(middle - begin)
        seconds["pass"].append(time.perf_counter() - middle)
    return {"flops": 2 * 1024**3 / min(seconds["product"]), "bytes": 2 * array.nbytes / min(seconds["pass"])}


def contender(workload: Workload, form: Form, half: bool) -> Contender:
    with px.seed(0):
        model = workload.models["phlox"]()
    parameters = sum(a.size for a in jax.tree.leaves(px.split(model)[0]))
    data = workload.data()
    policy: Any = px.dtypes(compute=jnp.bfloat16) if half else contextlib.nullcontext()
    with policy:
        run = _infers(model, data) if workload.infers else _trains(model, form, data)

    def within(steps: int) -> float:
        with policy:
            return run(steps)

    return Contender(within if half else run, parameters)


def _trains(model: Any, form: Form, data: list[Any]) -> Any:
    opt = px.Optimizer(px.optim.Adam(RATE), model)

    def step(model: px.Module, opt: px.Optimizer, x: jax.Array, y: jax.Array) -> jax.Array:
        loss, grads = px.value_and_grad(lambda model: px.losses.cross_entropy(model(x), y))(model)
        opt.update(model, grads)
        return loss

    def scanned(model: px.Module, opt: px.Optimizer, xs: jax.Array, ys: jax.Array) -> jax.Array:
        def body(carry: Any, batch: Any) -> Any:
            return carry, step(*carry, *batch)

        return px.scan(body, (model, opt), (xs, ys))[1]

    if not form.many:
        take = px.jit(step)
        return one_by_one(lambda x, y: take(model, opt, x, y), [(jnp.array(x), jnp.array(y)) for x, y in data])
    stacked = [jnp.array(np.stack(part)) for part in zip(*data, strict=True)]
    many = px.multi_step(step, len(data)) if form.kind == "multi_step" else px.jit(scanned)
    return in_chunks(lambda xs, ys: many(model, opt, xs, ys), len(data), *stacked)


def _infers(model: Any, data: list[Any]) -> Any:
    forward = px.jit(lambda model, x: model(x))
    return one_by_one(lambda x: forward(model, x), [(jnp.array(x),) for x, _ in data])
