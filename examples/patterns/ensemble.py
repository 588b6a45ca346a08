"""An ensemble: one model object that is a stack of models, built, trained and asked by px.vmap."""

import jax
import jax.numpy as jnp

import phlox as px

Array = jax.Array


def build(key: Array) -> px.Module:
    """One member, drawn from its key."""
    a, b, c = jax.random.split(key, 3)
    return px.Chain(
        px.Dense(1, 24, bias=False, key=a),
        px.BatchNorm(24, px.tanh),
        px.Dropout(0.1, key=b),
        px.Dense(24, 1, key=c),
    )


def train_step(model: px.Module, opt: px.Optimizer, x: Array, y: Array) -> Array:
    """One step of one member."""
    loss, grads = px.value_and_grad(lambda m: px.losses.mse(m(x), y))(model)
    opt.update(model, grads)
    return loss


def make(key: Array) -> tuple[px.Module, px.Optimizer]:
    """One member and its optimiser."""
    model = build(key)
    return model, px.Optimizer(px.optim.Adam(1e-2), model)


# Arrays of every member, statistics, keys and moments included, are stacked along axis 0; each member has its own data.
train_all = px.vmap(train_step)


def predict(models: px.Module, x: Array) -> tuple[Array, Array]:
    """Mean and spread of the members' answers to the same questions."""
    answers = px.vmap(lambda m, x: m(x), in_axes=(0, None))(models, x)
    return answers.mean(0), answers.std(0)


if __name__ == "__main__":
    members = 8
    models, opts = px.vmap(make)(jax.random.split(jax.random.key(0), members))
    step = px.jit(train_all)
    for key in jax.random.split(jax.random.key(1), 400):
        a, b = jax.random.split(key)
        x = jax.random.uniform(a, (members, 32, 1), minval=-2.0, maxval=2.0)
        step(models, opts, x, jnp.sin(2 * x) + 0.1 * jax.random.normal(b, x.shape))
    x = jnp.linspace(-2, 2, 101)[:, None]
    alone = px.vmap(lambda m: px.losses.mse(m(x), jnp.sin(2 * x)))(models)
    print("errors of the members: ", " ".join(f"{v:.4f}" for v in alone))
    print(f"error of their average: {px.losses.mse(predict(models, x)[0], jnp.sin(2 * x)):.4f}")
