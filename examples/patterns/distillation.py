"""Distillation: a student learns from a frozen teacher that the loss captures."""

import jax
import jax.numpy as jnp

import phlox as px

Array = jax.Array


def build(width: int, dropout: float) -> px.Module:
    """A classifier of points of the plane into 3 classes."""
    return px.Chain(
        px.Dense(2, width, bias=False), px.BatchNorm(width, px.relu), px.Dropout(dropout), px.Dense(width, 3)
    )


def teach(teacher: px.Module, opt: px.Optimizer, x: Array, y: Array) -> Array:
    """One ordinary step of the teacher."""
    loss, grads = px.value_and_grad(lambda m: px.losses.cross_entropy(m(x), y))(teacher)
    opt.update(teacher, grads)
    return loss


def train_step(
    student: px.Module, opt: px.Optimizer, teacher: px.Module, x: Array, y: Array, heat: float = 3.0
) -> Array:
    """One step of the student, half from the labels and half from the teacher's softened answers."""

    def loss_fn(student: px.Module) -> Array:
        logits = student(x)
        # The teacher is captured: it infers (no dropout, running statistics) and takes no gradient.
        soft = px.losses.kl_divergence_with_logits(logits / heat, px.softmax(teacher(x) / heat))
        return 0.5 * px.losses.cross_entropy(logits, y) + 0.5 * heat**2 * soft

    loss, grads = px.value_and_grad(loss_fn)(student)
    opt.update(student, grads)
    return loss


def spirals(key: Array, n: int) -> tuple[Array, Array]:
    """``n`` points of three arms, (n, 2), and which arm each lies on, (n,)."""
    a, b, c = jax.random.split(key, 3)
    y, r = jax.random.randint(a, (n,), 0, 3), jax.random.uniform(b, (n,), minval=0.1)
    angle = 2 * jnp.pi * y / 3 + 3 * r + 0.15 * jax.random.normal(c, (n,))
    return jnp.stack([r * jnp.cos(angle), r * jnp.sin(angle)], -1), y


if __name__ == "__main__":
    with px.seed(0):
        teacher, student = build(64, 0.2), build(8, 0.0)
    x, y = spirals(jax.random.key(1), 512)
    opt, lesson = px.Optimizer(px.optim.Adam(1e-2), teacher), px.jit(teach)
    for _ in range(300):
        lesson(teacher, opt, x, y)

    # A compiled function must be given the teacher, or be told that its weights are constants for good.
    wise = px.constant(teacher)
    step = px.jit(lambda student, opt, x, y: train_step(student, opt, wise, x, y))
    opt = px.Optimizer(px.optim.Adam(1e-2), student)
    for i in range(301):
        loss = step(student, opt, x, y)
        if i % 100 == 0:
            right = jnp.mean(student(x).argmax(-1) == y)
            print(f"step {i:3}: loss {loss:.3f}, student right on {right:.0%} of the points")
    print(f"teacher right on {jnp.mean(teacher(x).argmax(-1) == y):.0%}")
