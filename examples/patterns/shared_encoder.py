"""A shared encoder: two kinds of input meet in one trunk, trained by contrast (InfoNCE)."""

import jax
import jax.numpy as jnp

import phlox as px

Array = jax.Array


class Pair(px.Module):
    """Two towers that end in one and the same encoder."""

    temperature: px.Param  # () the logarithm of what similarities are multiplied by

    def __init__(self, left: int, right: int, width: int, out: int):
        encoder = px.Chain(px.Dense(width, width, bias=False), px.BatchNorm(width, px.relu), px.Dense(width, out))
        self.left = px.Chain(px.Dense(left, width, px.tanh), encoder)
        self.right = px.Chain(px.Dense(right, width, px.tanh), encoder)  # the same object: one set of weights
        self.temperature = jnp.full((), jnp.log(5.0), encoder[0].weight.dtype)

    def __call__(self, left: Array, right: Array) -> Array:
        """Similarities of every left with every right, (batch, batch); the encoder's statistics move twice."""
        a, b = self.left(left), self.right(right)
        a, b = (v / jnp.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
        return jnp.exp(self.temperature) * a @ b.T


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
    """Two noisy views, (n, 6) and (n, 5), of hidden points of the plane."""
    a, b, c = jax.random.split(key, 3)
    hidden = jax.random.normal(a, (n, 2))
    left, right = jnp.cos(jnp.arange(12.0)).reshape(2, 6), jnp.sin(jnp.arange(10.0)).reshape(2, 5)
    noise = 0.05 * jax.random.normal(b, (n, 6)), 0.05 * jax.random.normal(c, (n, 5))
    return hidden @ left + noise[0], jnp.tanh(hidden @ right) + noise[1]


if __name__ == "__main__":
    with px.seed(0):
        model = Pair(6, 5, 32, 8)
    opt, step = px.Optimizer(px.optim.Adam(3e-3), model), px.jit(train_step)
    for i, key in enumerate(jax.random.split(jax.random.key(1), 401)):
        loss = step(model, opt, *views(key, 64))
        if i % 100 == 0:
            found = model(*views(jax.random.key(2), 64)).argmax(-1)
            print(f"step {i:3}: loss {loss:.3f}, partner found for {jnp.mean(found == jnp.arange(64)):.0%} of 64")
