"""A recurrent net by px.scan, with dropout inside the captured cell: its key advances at every time step."""

import jax
import jax.numpy as jnp

import phlox as px

Array = jax.Array


class Cell(px.Module):
    """One time step: $h' = tanh(x W + b + drop(h) U)$."""

    def __init__(self, size: int, hidden: int, dropout: float):
        self.inward = px.Dense(size, hidden)
        self.onward = px.Dense(hidden, hidden, bias=False)
        self.drop = px.Dropout(dropout)

    def __call__(self, x: Array, h: Array) -> tuple[Array, Array]:
        h = jnp.tanh(self.inward(x) + self.onward(self.drop(h)))
        return h, h


class Recurrent(px.Module):
    """The cell over time, and a reading of its last state."""

    def __init__(self, size: int, hidden: int, out: int, dropout: float = 0.2):
        self.cell = Cell(size, hidden, dropout)
        self.read = px.Dense(hidden, out)

    def __call__(self, x: Array) -> Array:
        start = jnp.zeros((x.shape[0], self.read.in_size), x.dtype)
        # self is captured: what the body writes on it (the key of the dropout) is carried from step to step.
        last, _ = px.scan(lambda h, x_t: self.cell(x_t, h), start, jnp.swapaxes(x, 0, 1))
        return self.read(last)


def train_step(model: Recurrent, opt: px.Optimizer, x: Array, y: Array) -> Array:
    """One step on sequences (batch, time, size) and their targets (batch, out)."""
    loss, grads = px.value_and_grad(lambda m: px.losses.mse(m(x), y))(model)
    opt.update(model, grads)
    return loss


def sums(key: Array, n: int, time: int) -> tuple[Array, Array]:
    """Numbers to add up, but only where a second channel says so: (n, time, 2) and (n, 1)."""
    a, b = jax.random.split(key)
    numbers = jax.random.uniform(a, (n, time), minval=-0.5, maxval=0.5)
    marks = jax.random.bernoulli(b, 0.3, (n, time)).astype(numbers.dtype)
    return jnp.stack([numbers, marks], -1), jnp.sum(numbers * marks, -1, keepdims=True)


if __name__ == "__main__":
    with px.seed(0):
        model = Recurrent(2, 32, 1, dropout=0.05)
    opt, step = px.Optimizer(px.optim.Adam(3e-3), model), px.jit(train_step)
    x_test, y_test = sums(jax.random.key(2), 256, 12)
    for i, key in enumerate(jax.random.split(jax.random.key(1), 801)):
        step(model, opt, *sums(key, 64, 12))
        if i % 200 == 0:
            print(f"step {i:3}: error {px.losses.mse(model(x_test), y_test):.4f}, of a guess {y_test.var():.4f}")
