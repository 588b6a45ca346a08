"""An average of a model over its training: a copy whose weights follow slowly."""

import jax
import jax.numpy as jnp

import phlox as px

Array = jax.Array


def build() -> px.Module:
    """A small regressor with statistics and dropout."""
    return px.Chain(px.Dense(1, 32, bias=False), px.BatchNorm(32, px.tanh), px.Dropout(0.1), px.Dense(32, 1))


def follow(average: px.Module, model: px.Module, decay: float) -> None:
    """Move every floating array of the average towards the model's, running statistics included."""

    def blend(slow: Array, fast: Array) -> Array:
        return decay * slow + (1 - decay) * fast if jnp.issubdtype(slow.dtype, jnp.floating) else slow

    px.load_state_dict(average, px.state_dict(px.map(blend, average, model)))


def train_step(
    model: px.Module, average: px.Module, opt: px.Optimizer, x: Array, y: Array, decay: float = 0.98
) -> Array:
    """One step of the model, and one of the average after it."""
    loss, grads = px.value_and_grad(lambda m: px.losses.mse(m(x), y))(model)
    opt.update(model, grads)
    follow(average, model, decay)
    return loss


if __name__ == "__main__":
    with px.seed(0):
        model = build()
    average = px.copy(model)  # shares the arrays until one of the two is written
    opt = px.Optimizer(px.optim.Adam(2e-2), model)
    step = px.jit(train_step)
    grid = jnp.linspace(-2, 2, 101)[:, None]
    errors = {"model": [], "average": []}
    for i, key in enumerate(jax.random.split(jax.random.key(1), 600)):
        a, b = jax.random.split(key)
        x = jax.random.uniform(a, (32, 1), minval=-2, maxval=2)
        step(model, average, opt, x, jnp.sin(2 * x) + 0.3 * jax.random.normal(b, x.shape))
        if i >= 300:
            errors["model"].append(jnp.mean((model(grid) - jnp.sin(2 * grid)) ** 2))
            errors["average"].append(jnp.mean((average(grid) - jnp.sin(2 * grid)) ** 2))
    for name, found in errors.items():
        print(f"mean squared error of the {name}: {jnp.mean(jnp.array(found)):.4f}")
