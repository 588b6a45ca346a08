"""Transforms of a function that captures the Module from around it, and the same by hand on the pure view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import phlox as px
from core._patterns.transforms import CT, DIFFERENTIATING, ROUNDS, Fn, Pure, scalar


def along(kind: str, of: Callable[..., Any], x: Any) -> Any:
    """A derivative of ``of(x)`` with respect to x, by px or by JAX: ``lib`` has the five transforms."""
    lib = {"px": px, "jax": jax}[kind.split(".")[0]]
    name = kind.split(".")[1]
    if name == "grad":
        return lib.grad(lambda x: scalar(of(x)))(x)
    if name == "vjp":
        return lib.vjp(of, x)[1](jnp.asarray(CT))[0]
    if name == "jvp":
        return lib.jvp(of, (x,), (jnp.asarray(CT),))[1]
    if name == "jacobian":
        jacobian = px.jacobian if lib is px else jax.jacrev
        return jnp.einsum("kij->ij", jacobian(lambda x: of(x).sum(0))(x))
    return jnp.einsum("ijkl->ij", lib.hessian(lambda x: scalar(of(x)))(x))


def captured(name: str, f: Fn) -> Fn:
    """A transform of a function that captures the Module from around it."""
    if name in DIFFERENTIATING:
        return lambda m, x: along(f"px.{name}", lambda x: f(m, x), x)
    if name == "vmap":
        return lambda m, x: px.vmap(lambda x: f(m, x))(jnp.stack([x, 1 - x])).sum(0)
    if name == "scan":
        return lambda m, x: px.scan(lambda h, t: (f(m, h * t), None), x, jnp.asarray(ROUNDS))[0]
    if name == "cond":
        return lambda m, x: px.cond(x.sum() > 0, lambda x: f(m, x), lambda x: x - 1.0, x)
    if name == "while_loop":
        return lambda m, x: px.while_loop(lambda c: c[1] < 2, lambda c: (f(m, c[0]), c[1] + 1), (x, 0))[0]
    transform = {"remat": px.remat, "jit": px.jit}[name]
    return lambda m, x: transform(lambda x: f(m, x))(x)


def pure_captured(name: str, p: Pure) -> Pure:
    """The same by hand: State goes round in the loops, and stays outside what only reads."""

    def run(params: Any, state: Any, x: Any) -> Any:
        read = lambda x: p(params, state, x)[0]  # noqa: E731
        if name in DIFFERENTIATING:
            return along(f"jax.{name}", read, x), state
        if name == "vmap":
            return jax.vmap(read)(jnp.stack([x, 1 - x])).sum(0), state
        if name == "cond":
            return jax.lax.cond(x.sum() > 0, lambda s: p(params, s, x), lambda s: (x - 1.0, s), state)
        if name == "remat":
            return jax.checkpoint(p)(params, state, x)
        for t in ROUNDS if name == "scan" else (1.0, 1.0):
            x, state = p(params, state, x * t)
        return x, state

    return run
