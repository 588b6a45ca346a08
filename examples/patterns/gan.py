"""A GAN: two models, two optimisers, and batch statistics that both steps move."""

import jax
import jax.numpy as jnp

import phlox as px

Array = jax.Array
NOISE = 4


def build() -> tuple[px.Module, px.Module]:
    """A generator from noise to points of the plane, and a discriminator of such points."""
    generator = px.Chain(px.Dense(NOISE, 32, bias=False), px.BatchNorm(32, px.relu), px.Dense(32, 2))
    discriminator = px.Chain(
        px.Dense(2, 32, px.relu), px.Dense(32, 32, bias=False), px.BatchNorm(32, px.relu), px.Dense(32, 1)
    )
    return generator, discriminator


def says(discriminator: px.Module, points: Array, answer: float) -> Array:
    """How far the discriminator is from one answer (1 real, 0 made up) on all points."""
    logits = discriminator(points)
    return px.losses.binary_cross_entropy_with_logits(logits, jnp.full_like(logits, answer))


def train_step(
    generator: px.Module,
    discriminator: px.Module,
    g_opt: px.Optimizer,
    d_opt: px.Optimizer,
    real: Array,
    noise: Array,
) -> tuple[Array, Array]:
    """One step of each player; both normalise by their batches throughout, so both are told to train."""
    with px.training(True):
        fake = generator(noise)  # outside the gradient: its statistics move, no weight of it is differentiated

        def d_loss(discriminator: px.Module) -> Array:
            return says(discriminator, real, 1.0) + says(discriminator, fake, 0.0)

        d_value, grads = px.value_and_grad(d_loss)(discriminator)
        d_opt.update(discriminator, grads)

        # The discriminator is an argument too, though not differentiated, because its statistics move.
        def g_loss(generator: px.Module, discriminator: px.Module) -> Array:
            return says(discriminator, generator(noise), 1.0)

        g_value, grads = px.value_and_grad(g_loss)(generator, discriminator)
        g_opt.update(generator, grads)
    return d_value, g_value


def circle(key: Array, n: int) -> Array:
    """``n`` points of the unit circle, (n, 2)."""
    angle = jax.random.uniform(key, (n,), maxval=2 * jnp.pi)
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)


if __name__ == "__main__":
    with px.seed(0):
        generator, discriminator = build()
    g_opt, d_opt = (px.Optimizer(px.optim.Adam(5e-4, b1=0.5), m) for m in (generator, discriminator))
    step = px.jit(train_step)
    for i, key in enumerate(jax.random.split(jax.random.key(1), 2001)):
        a, b = jax.random.split(key)
        noise = jax.random.normal(b, (256, NOISE))
        if i % 500 == 0:
            radius = jnp.linalg.norm(generator(noise), axis=-1)
            print(f"step {i:4}: made-up points lie at {radius.mean():.2f} ± {radius.std():.2f} from the centre")
        step(generator, discriminator, g_opt, d_opt, circle(a, 256), noise)
