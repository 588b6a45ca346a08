"""A step of Adam on a physics-informed network: one residual of Burgers' equation, the same weights and points for all.

The beginning and the ends hold by how the network is built, so the loss is the mean square of the residual alone.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px

PEER = Path(__file__).resolve().parent.parent / ".venv-serve-deepxde"
VISCOSITY = 0.01 / np.pi
RATE = 1e-3
Step = Callable[[], Any]


def weights_and_points(points: int, width: int, layers: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Weights and biases in turn, and points (points, 2)."""
    rng = np.random.default_rng(0)
    arrays: list[np.ndarray] = []
    for a, b in pairwise((2, *[width] * layers, 1)):
        arrays += [rng.normal(size=(a, b)).astype("float32") / np.float32(np.sqrt(a)), np.zeros(b, "float32")]
    return arrays, np.asarray(px.science.Box(x=(-1, 1), t=(0, 1)).sobol(points))


def with_phlox(arrays: list[np.ndarray], points: np.ndarray) -> Step:
    """Ours."""

    def burgers(u: Any, x: Any, t: Any) -> Any:
        return u.d("t") + u * u.d("x") - VISCOSITY * u.d("xx")

    layers = [px.Dense.of(jnp.array(w), jnp.array(b), px.tanh) for w, b in zip(arrays[::2], arrays[1::2], strict=True)]
    layers[-1].act = px.identity
    network = px.science.HardConstraint(
        px.Chain(*layers), lambda x, t: t * (1 - x**2), lambda x, t: -jnp.sin(jnp.pi * x)
    )
    pinn = px.science.PINN(network, burgers)
    opt = px.Optimizer(px.optim.Adam(RATE), pinn)

    @px.jit
    def step(pinn: Any, opt: Any, points: Any) -> Any:
        loss, grads = px.value_and_grad(lambda pinn: pinn.loss(points)[0])(pinn)
        opt.update(pinn, grads)
        return loss

    given = jnp.asarray(points)
    return lambda: step(pinn, opt, given)


def _network(arrays: Any, x: Any, t: Any) -> Any:
    """At one point, as tutorials in plain JAX write it."""
    h = jnp.stack([x, t])
    for w, b in zip(arrays[:-2:2], arrays[1:-2:2], strict=True):
        h = jnp.tanh(h @ w + b)
    return t * (1 - x**2) * (h @ arrays[-2] + arrays[-1])[0] - jnp.sin(jnp.pi * x)


def _by_grad(arrays: Any, x: Any, t: Any) -> Any:
    u_x = jax.grad(_network, 1)
    u_t, u_xx = jax.grad(_network, 2)(arrays, x, t), jax.grad(u_x, 1)(arrays, x, t)
    return u_t + _network(arrays, x, t) * u_x(arrays, x, t) - VISCOSITY * u_xx


def _by_jvp(arrays: Any, x: Any, t: Any) -> Any:
    one = jnp.ones_like(x)
    along_x = lambda x: jax.jvp(lambda x: _network(arrays, x, t), (x,), (one,))  # noqa: E731
    (u, u_x), (_, u_xx) = jax.jvp(along_x, (x,), (one,))
    u_t = jax.jvp(lambda t: _network(arrays, x, t), (t,), (one,))[1]
    return u_t + u * u_x - VISCOSITY * u_xx


def _in_jax(residual: Callable[..., Any], arrays: list[np.ndarray], points: np.ndarray) -> Step:
    import optax

    adam = optax.adam(RATE)
    params = [jnp.array(a) for a in arrays]
    held = [params, adam.init(params)]

    def step(params: Any, state: Any, points: Any) -> Any:
        def loss_of(params: Any) -> Any:
            return jnp.mean(jax.vmap(residual, (None, 0, 0))(params, points[:, 0], points[:, 1]) ** 2)

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, state = adam.update(grads, state)
        return loss, optax.apply_updates(params, updates), state

    compiled, given = jax.jit(step, donate_argnums=(0, 1)), jnp.asarray(points)

    def run() -> Any:
        loss, *held[:] = compiled(*held, given)
        return loss

    return run


def with_grad(arrays: list[np.ndarray], points: np.ndarray) -> Step:
    """Plain JAX by gradients of gradients at each point, under vmap."""
    return _in_jax(_by_grad, arrays, points)


def with_jvp(arrays: list[np.ndarray], points: np.ndarray) -> Step:
    """Plain JAX forward in forward mode, and no value that is computed twice by hand."""
    return _in_jax(_by_jvp, arrays, points)


def with_deepxde(arrays: list[np.ndarray], points: np.ndarray) -> Step | None:
    """DeepXDE on PyTorch: what its training runs for each iteration. None where it is not installed."""
    os.environ["DDE_BACKEND"] = "pytorch"
    if importlib.util.find_spec("deepxde") is None:
        sys.path.extend(map(str, PEER.glob("lib/python*/site-packages")))  # behind ours
    if importlib.util.find_spec("deepxde") is None or importlib.util.find_spec("torch") is None:
        return None
    import deepxde as dde
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)

    def burgers(at: Any, u: Any) -> Any:
        u_t, u_x = dde.grad.jacobian(u, at, i=0, j=1), dde.grad.jacobian(u, at, i=0, j=0)
        return u_t + u * u_x - VISCOSITY * dde.grad.hessian(u, at, i=0, j=0)

    region = dde.geometry.GeometryXTime(dde.geometry.Interval(-1, 1), dde.geometry.TimeDomain(0, 1))
    data = dde.data.TimePDE(region, burgers, [], num_domain=0, anchors=points)
    sizes = [2, *[w.shape[1] for w in arrays[::2]]]
    network = dde.nn.FNN(sizes, "tanh", "Glorot normal")
    for layer, w, b in zip(network.linears, arrays[::2], arrays[1::2], strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(w.T.copy()), torch.tensor(b)
    network.apply_output_transform(lambda at, u: at[:, 1:] * (1 - at[:, :1] ** 2) * u - torch.sin(torch.pi * at[:, :1]))
    model = dde.Model(data, network)
    model.compile("adam", lr=RATE, verbose=0)
    state = model.train_state
    state.set_data_train(*data.train_next_batch())

    def run() -> Any:
        model._train_step(state.X_train, state.y_train, state.train_aux_vars)

    def loss() -> float:
        _, losses = model._outputs_losses(True, state.X_train, state.y_train, state.train_aux_vars)
        return float(np.sum(losses))

    run.loss = loss  # type: ignore[attr-defined]  # its steps return none
    return run
