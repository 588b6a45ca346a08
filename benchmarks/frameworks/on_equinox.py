"""Equinox: layers of one example under vmap, filter_jit with donation, and lax.scan over what are arrays."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from workloads import RATE, Workload

from frameworks import on_jax
from frameworks._contender import Contender, Form, in_chunks, one_by_one

start, product = on_jax.start, on_jax.product


def contender(workload: Workload, form: Form, half: bool) -> Contender:
    model, stats = workload.models["equinox"](jax.random.key(0))
    parameters = sum(a.size for a in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))
    data = [(_channels_first(x, workload.space), y) for x, y in workload.data()]

    def forward(model: Any, stats: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        if half:
            arrays, rest = eqx.partition(model, eqx.is_inexact_array)
            model, x = eqx.combine(on_jax.lower(arrays), rest), on_jax.lower(x)
        if stats is None:
            return jax.vmap(model)(x), None
        return jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, stats)

    if workload.infers:
        model = eqx.nn.inference_mode(model)
        infer = eqx.filter_jit(lambda model, stats, x: forward(model, stats, x)[0])
        run = one_by_one(lambda x: infer(model, stats, x), [(jnp.array(x),) for x, _ in data])
        return Contender(run, parameters)

    adam = optax.adam(RATE)
    moments = adam.init(eqx.filter(model, eqx.is_inexact_array))

    def step(batch: Any, model: Any, moments: Any, stats: Any) -> Any:
        def loss_fn(model: Any) -> tuple[jax.Array, Any]:
            logits, new = forward(model, stats, batch[0])
            logits = jnp.moveaxis(logits, 1, -1) if logits.ndim > 2 and workload.space else logits
            return on_jax.cross_entropy(logits, batch[1]), new

        (loss, stats), grads = eqx.filter_value_and_grad(loss_fn, has_aux=True)(model)
        updates, moments = adam.update(grads, moments, eqx.filter(model, eqx.is_inexact_array))
        return (eqx.apply_updates(model, updates), moments, stats), loss

    return Contender(_train(step, (model, moments, stats), form, data), parameters)


def _train(step: Any, state: Any, form: Form, data: list[Any]) -> Any:
    def scanned(batches: Any, *state: Any) -> Any:
        arrays, rest = eqx.partition(state, eqx.is_array)

        def body(arrays: Any, batch: Any) -> Any:
            new, loss = step(batch, *eqx.combine(arrays, rest))
            return eqx.filter(new, eqx.is_array), loss

        arrays, losses = jax.lax.scan(body, arrays, batches)
        return eqx.combine(arrays, rest), losses

    # "all-except-first" would filter warnings at every call
    compiled = eqx.filter_jit(scanned if form.many else step, donate="warn-except-first")  # type: ignore[arg-type]

    def take(x: jax.Array, y: jax.Array) -> jax.Array:
        nonlocal state
        state, loss = compiled((x, y), *state)
        return loss

    if form.many:
        return in_chunks(take, len(data), *[jnp.array(np.stack(part)) for part in zip(*data, strict=True)])
    return one_by_one(take, [(jnp.array(x), jnp.array(y)) for x, y in data])


def _channels_first(x: np.ndarray, space: int) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if space else x
