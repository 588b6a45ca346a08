"""A shared encoder: one trunk reached by two paths and called twice, trained by contrast (InfoNCE)."""

import jax
import jax.numpy as jnp

import phlox as px

Array = jax.Array


class Pair(px.Module):
    """Two views of a thing meet: both pass one encoder, and the left one a predictor after it."""

    scale: px.Param  # () the logarithm of what similarities are multiplied by

    def __init__(self, size: int, width: int, out: int):
        encoder = px.Chain(px.Dense(size, width, bias=False), px.BatchNorm(width, px.relu), px.Dense(width, out))
        self.left = px.Chain(encoder, px.Dense(out, out))
        self.right = encoder  # the same object: one set of weights and statistics
        self.scale = jnp.full((), jnp.log(5.0), encoder[0].weight.dtype)

    def __call__(self, left: Array, right: Array) -> Array:
        """Similarities of every left with every right, (batch, batch); in training the statistics move twice."""
        a, b = self.left(left), self.right(right)
        a, b = (v / jnp.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
        return jnp.exp(self.scale) * a @ b.T


def info_nce(similarity: Array) -> Array:
    """Cross entropy of finding the partner, from both sides."""
    partner = jnp.arange(len(similarity))
    return 0.5 * (px.losses.cross_entropy(similarity, partner) + px.losses.cross_entropy(similarity.T, partner))


def train_step(model: Pair, opt: px.Optimizer, left: Array, right: Array) -> Array:
    """One step on a batch of pairs."""
    loss, grads = px.value_and_grad(lambda m: info_nce(m(left, right)))(model)
    opt.update(model, grads)
    return loss


def views(key: Array, n: int) -> tuple[Array, Array]:
    """Two noisy views, (n, 8) each, of hidden points of the plane."""
    hidden, left, right = jax.random.split(key, 3)
    clean = jax.random.normal(hidden, (n, 2)) @ jnp.cos(jnp.arange(16.0)).reshape(2, 8)
    return clean + 0.1 * jax.random.normal(left, (n, 8)), clean + 0.1 * jax.random.normal(right, (n, 8))


if __name__ == "__main__":
    with px.seed(0):
        model = Pair(8, 32, 8)
    opt, step = px.Optimizer(px.optim.Adam(3e-3), model), px.jit(train_step)
    for i, key in enumerate(jax.random.split(jax.random.key(1), 401)):
        loss = step(model, opt, *views(key, 64))
        if i % 100 == 0:
            found = model(*views(jax.random.key(2), 64)).argmax(-1)
            print(f"step {i:3}: loss {loss:.3f}, partner found for {jnp.mean(found == jnp.arange(64)):.0%} of 64")
