"""A character model: an LSTM learns to write in the style of Python's documentation.

The text is cut into parallel streams; each batch continues the one before, so the state is carried over, and
gradients stop where a batch begins. Run it with ``python examples/char_lstm.py``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from python_text import CHARACTERS, decode, encode, pages

import phlox as px


class CharLSTM(px.Module):
    """Characters in, logits of the next character out; the state goes in and comes out beside them."""

    def __init__(self, width: int = 256):
        self.embed = px.Embedding(len(CHARACTERS), 64)
        self.lstm = px.nn.LSTM(64, width, return_state=True)
        self.drop = px.Dropout(0.1)
        self.out = px.Dense(width, len(CHARACTERS))

    def __call__(self, x: jax.Array, state: Any = None) -> tuple[jax.Array, Any]:
        h, state = self.lstm(self.embed(x), state)
        return self.out(self.drop(h)), state


def batches(text: np.ndarray, streams: int, steps: int) -> Iterator[tuple[jax.Array, jax.Array]]:
    """Parts of parallel streams in reading order, (streams, steps), each with the characters that follow."""
    length = (len(text) - 1) // streams
    x = text[: streams * length].reshape(streams, length)
    y = text[1 : streams * length + 1].reshape(streams, length)
    for at in range(0, length - steps + 1, steps):
        yield jnp.asarray(x[:, at : at + steps]), jnp.asarray(y[:, at : at + steps])


@px.jit
def train_step(model: CharLSTM, opt: px.Optimizer, x: jax.Array, y: jax.Array, state: Any) -> tuple[jax.Array, Any]:
    """One update; returns the loss and the state after the last character."""

    def loss_fn(model: CharLSTM) -> tuple[jax.Array, Any]:
        logits, after = model(x, state)
        return px.losses.cross_entropy(logits, y), after

    (loss, after), grads = px.value_and_grad(loss_fn, has_aux=True)(model)
    opt.update(model, grads)
    return loss, after


@px.jit
def next_state_and_loss(model: CharLSTM, x: jax.Array, y: jax.Array, state: Any) -> tuple[jax.Array, Any]:
    """The loss of a part of the text, and the state behind it."""
    logits, after = model(x, state)
    return px.losses.cross_entropy(logits, y), after


def evaluate(model: CharLSTM, text: np.ndarray, streams: int = 8, steps: int = 100) -> float:
    """Mean loss, in nats for each character."""
    losses, state = [], None
    for x, y in batches(text, streams, steps):
        loss, state = next_state_and_loss(model, x, y, state)
        losses.append(loss)
    return float(jnp.stack(losses).mean())


def train(text: np.ndarray, *, epochs: int = 12, streams: int = 32, steps: int = 64, seed: int = 0) -> CharLSTM:
    """A model of this text, after so many passes over it."""
    with px.seed(seed):
        model = CharLSTM()
    total = epochs * ((len(text) - 1) // streams // steps)
    rate = lambda count: 2e-3 * jnp.cos(0.5 * jnp.pi * count / total)  # noqa: E731
    opt = px.Optimizer(px.optim.Adam(rate), model)
    for epoch in range(epochs):
        began, losses = time.perf_counter(), []
        state = tuple(jnp.zeros((1, streams, 256)) for _ in "hc")
        for x, y in batches(text, streams, steps):
            loss, state = train_step(model, opt, x, y, state)
            losses.append(loss)
        print(f"epoch {epoch + 1}: loss {float(jnp.stack(losses).mean()):.3f}, {time.perf_counter() - began:.0f} s")
    return model


@px.jit
def continue_text(model: CharLSTM, prompt: jax.Array, key: jax.Array, temperature: jax.Array) -> jax.Array:
    """300 characters after a prompt (1, time), drawn one by one."""
    logits, state = model(prompt)

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        logits, state = carry
        drawn = jax.random.categorical(key, logits / temperature)
        logits, state = model(drawn[:, None], state)
        return (logits[:, -1], state), drawn

    _, drawn = px.scan(step, (logits[:, -1], state), jax.random.split(key, 300))
    return drawn[:, 0]


def write(model: CharLSTM, prompt: str, *, seed: int = 0, temperature: float = 0.7) -> str:
    """The prompt and what the model writes after it."""
    drawn = continue_text(model, jnp.asarray(encode(prompt))[None], jax.random.key(seed), jnp.float32(temperature))
    return prompt + decode(np.asarray(drawn))


def main() -> None:
    """Learn, measure, write."""
    learn, held_out = pages()
    model = train(learn)
    print(f"held-out loss {evaluate(model, held_out):.3f} nats for each character")
    print(write(model, "The statement "))


if __name__ == "__main__":
    main()
