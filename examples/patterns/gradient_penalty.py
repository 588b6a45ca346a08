"""A gradient penalty (WGAN-GP): the loss holds a gradient with respect to inputs, and is differentiated itself."""

import jax
import jax.numpy as jnp

import phlox as px

Array = jax.Array


def build() -> px.Module:
    """A critic of points of the plane: no batch statistics, because every point has a slope of its own."""
    return px.Chain(px.Dense(2, 64, px.gelu), px.LayerNorm(64), px.Dense(64, 64, px.gelu), px.Dense(64, 1))


def slopes(critic: px.Module, points: Array) -> Array:
    """The length of the critic's gradient at each point, (batch,)."""
    # The critic is captured by this gradient: it keeps the mode, and the weights, that it has outside.
    along = px.grad(lambda x: critic(x).sum())(points)
    return jnp.sqrt(jnp.sum(along**2, -1) + 1e-12)


def train_step(
    critic: px.Module, opt: px.Optimizer, real: Array, fake: Array, share: Array, weight: float = 10.0
) -> tuple[Array, Array]:
    """One step of the critic; returns its estimate of the distance, and the penalty."""

    def loss_fn(critic: px.Module) -> tuple[Array, tuple[Array, Array]]:
        distance = critic(real).mean() - critic(fake).mean()
        between = share * real + (1 - share) * fake
        penalty = jnp.mean((slopes(critic, between) - 1.0) ** 2)
        return weight * penalty - distance, (distance, penalty)

    (_, report), grads = px.value_and_grad(loss_fn, has_aux=True)(critic)
    opt.update(critic, grads)
    return report


if __name__ == "__main__":
    with px.seed(0):
        critic = build()
    opt = px.Optimizer(px.optim.Adam(2e-3, b1=0.5), critic)
    step = px.jit(train_step)
    for i, key in enumerate(jax.random.split(jax.random.key(1), 601)):
        a, b, c = jax.random.split(key, 3)
        real = jax.random.normal(a, (256, 2)) + jnp.array([3.0, 0.0])
        fake = jax.random.normal(b, (256, 2))
        distance, penalty = step(critic, opt, real, fake, jax.random.uniform(c, (256, 1)))
        if i % 200 == 0:
            print(f"step {i:3}: distance {distance:.2f} (3 is true), penalty {penalty:.4f}")
