"""MAML: learn weights from which one step of descent learns a task, by a gradient through that step."""

import jax
import jax.numpy as jnp

import phlox as px

Array = jax.Array


def build() -> px.Module:
    """A regressor on the line."""
    return px.Chain(px.Dense(1, 40, px.tanh), px.Dense(40, 40, px.tanh), px.Dense(40, 1))


def mse(model: px.Module, x: Array, y: Array) -> Array:
    """The loss on one task."""
    return px.losses.mse(model(x), y)


def adapted(model: px.Module, x: Array, y: Array, rate: float = 0.1) -> px.Module:
    """The model after one step on a task; the gradient of what follows flows through it to the model."""
    fast = px.copy(model)
    px.Optimizer(px.optim.Descent(rate), fast).update(fast, px.grad(mse)(fast, x, y))
    return fast


def train_step(model: px.Module, opt: px.Optimizer, seen: tuple[Array, Array], held: tuple[Array, Array]) -> Array:
    """One step on a batch of tasks: adapt to the seen points of each, judge by the held ones."""

    def one_task(model: px.Module, x: Array, y: Array, x_held: Array, y_held: Array) -> Array:
        return mse(adapted(model, x, y), x_held, y_held)

    def loss_fn(model: px.Module) -> Array:
        return px.vmap(one_task, in_axes=(None, 0, 0, 0, 0))(model, *seen, *held).mean()

    loss, grads = px.value_and_grad(loss_fn)(model)
    opt.update(model, grads)
    return loss


def sines(key: Array, tasks: int, points: int) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Sine waves of random height and phase: seen and held points, each (tasks, points, 1)."""
    a, b, c = jax.random.split(key, 3)
    height = jax.random.uniform(a, (tasks, 1, 1), minval=0.5, maxval=2.0)
    phase = jax.random.uniform(b, (tasks, 1, 1), maxval=jnp.pi)
    x = jax.random.uniform(c, (tasks, 2 * points, 1), minval=-3.0, maxval=3.0)
    y = height * jnp.sin(x + phase)
    return (x[:, :points], y[:, :points]), (x[:, points:], y[:, points:])


if __name__ == "__main__":
    with px.seed(0):
        model = build()
    opt = px.Optimizer(px.optim.Adam(3e-3), model)
    step = px.jit(train_step)
    for i, key in enumerate(jax.random.split(jax.random.key(1), 1501)):
        loss = step(model, opt, *sines(key, 16, 10))
        if i % 500 == 0:
            (x, y), (x_held, y_held) = jax.tree.map(lambda v: v[0], sines(jax.random.key(2), 1, 10))
            print(f"step {i:4}: loss {loss:.3f}; a new task before one step {mse(model, x_held, y_held):.3f}, "
                  f"after {mse(adapted(model, x, y), x_held, y_held):.3f}")  # fmt: skip
