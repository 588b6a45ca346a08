"""A new head on a frozen trunk: surgery, freezing, and an optimiser that was made before both."""

import jax
import jax.numpy as jnp

import phlox as px

Array = jax.Array


class Classifier(px.Module):
    """A trunk of features and a head of classes."""

    def __init__(self, size: int, width: int, classes: int):
        self.trunk = px.Chain(
            px.Dense(size, width, bias=False), px.BatchNorm(width, px.relu), px.Dense(width, width, px.relu)
        )
        self.head = px.Dense(width, classes)

    def __call__(self, x: Array) -> Array:
        return self.head(self.trunk(x))


def train_step(model: Classifier, opt: px.Optimizer, x: Array, y: Array) -> Array:
    """One step on points and their classes."""
    loss, grads = px.value_and_grad(lambda m: px.losses.cross_entropy(m(x), y))(model)
    opt.update(model, grads)
    return loss


def replace_head(model: Classifier, opt: px.Optimizer, head: px.Dense) -> None:
    """Freeze the trunk and put another head on it; the optimiser follows."""
    px.freeze(model.trunk)  # no gradient, no dropout, and its statistics stand still
    model.head = head  # a model is an ordinary object
    opt.sync(model)  # fresh state for the head, none for what is frozen


def rings(key: Array, n: int, classes: int) -> tuple[Array, Array]:
    """``n`` points, (n, 2), and which of as many rings around the centre each lies on, (n,)."""
    a, b, c = jax.random.split(key, 3)
    y, angle = jax.random.randint(a, (n,), 0, classes), jax.random.uniform(b, (n,), maxval=2 * jnp.pi)
    radius = (y + 0.5 + 0.15 * jax.random.normal(c, (n,))) / classes
    return radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1), y


if __name__ == "__main__":
    with px.seed(0):
        model, head = Classifier(2, 32, 4), px.Dense(32, 2)
    opt, step = px.Optimizer(px.optim.Momentum(0.1), model), px.jit(train_step)
    for name, classes in (("four rings", 4), ("two rings, trunk frozen", 2)):
        x, y = rings(jax.random.key(classes), 512, classes)
        for _ in range(400):
            step(model, opt, x, y)
        print(f"{name}: right on {jnp.mean(model(x).argmax(-1) == y):.0%}, statistics {model.trunk[1].mean[:3]}")
        if model.head is not head:
            replace_head(model, opt, head)
