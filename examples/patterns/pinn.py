"""A physics-informed net: derivatives with respect to inputs, of second order, inside the gradient of the weights."""

import jax
import jax.numpy as jnp

import phlox as px

Array = jax.Array
DIFFUSION = 0.2


def build(width: int = 24) -> px.Module:
    """Temperature u as a function of time and place."""
    return px.Chain(px.Dense(2, width, px.tanh), px.Dense(width, width, px.tanh), px.Dense(width, 1))


def residual(model: px.Module, t: Array, x: Array) -> Array:
    """How far the model is from the heat equation at one point: ∂u/∂t - D ∂²u/∂x²."""

    def u(t: Array, x: Array) -> Array:
        return model(jnp.stack([t, x]))[0]

    _, u_t = px.jvp(lambda t: u(t, x), (t,), (jnp.ones_like(t),))
    u_xx = px.hessian(u, argnums=1)(t, x)
    return u_t - DIFFUSION * u_xx


def exact(t: Array, x: Array) -> Array:
    """The solution that starts as sin πx between walls at 0."""
    return jnp.exp(-DIFFUSION * jnp.pi**2 * t) * jnp.sin(jnp.pi * x)


def loss_fn(model: px.Module, inside: Array, start: Array, walls: Array) -> Array:
    """The equation inside, the start at time 0, and the walls; points are (n, 2) of time and place."""
    physics = px.vmap(lambda p: residual(model, p[0], p[1]))(inside)
    at_start = model(start)[:, 0] - jnp.sin(jnp.pi * start[:, 1])
    return jnp.mean(physics**2) + 10 * jnp.mean(at_start**2) + 10 * jnp.mean(model(walls) ** 2)


def train_step(model: px.Module, opt: px.Optimizer, inside: Array, start: Array, walls: Array) -> Array:
    """One step on a set of points."""
    loss, grads = px.value_and_grad(loss_fn)(model, inside, start, walls)
    opt.update(model, grads)
    return loss


def points(key: Array, n: int) -> tuple[Array, Array, Array]:
    """Points inside, at the start, and on the walls, (n, 2) each."""
    a, b, c = jax.random.split(key, 3)
    inside, start, walls = jax.random.uniform(a, (n, 2)), jax.random.uniform(b, (n, 2)), jax.random.uniform(c, (n, 2))
    return inside, start.at[:, 0].set(0.0), walls.at[:, 1].set(jnp.round(walls[:, 1]))


if __name__ == "__main__":
    with px.seed(0):
        model = build()
    opt, step = px.Optimizer(px.optim.Adam(5e-3), model), px.jit(train_step)
    grid = jnp.stack(jnp.meshgrid(jnp.linspace(0, 1, 21), jnp.linspace(0, 1, 21)), -1).reshape(-1, 2)
    for i, key in enumerate(jax.random.split(jax.random.key(1), 1501)):
        loss = step(model, opt, *points(key, 64))
        if i % 500 == 0:
            error = jnp.max(jnp.abs(model(grid)[:, 0] - exact(grid[:, 0], grid[:, 1])))
            print(f"step {i:4}: loss {loss:.5f}, largest error of u {error:.3f}")
