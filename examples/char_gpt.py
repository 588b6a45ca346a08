"""A character GPT: a decoder-only transformer that learns English from the documentation that Python carries.

Run it: ``python examples/char_gpt.py``. It trains for a few minutes on a CPU, and then writes a text of its own.
"""

import argparse
from pydoc_data import topics

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px


def english() -> str:
    """What ``help("LOOPING")`` and its like say, every topic in the order of the alphabet."""
    return "\n".join(topics.topics[name] for name in sorted(topics.topics))


def encoded(text: str) -> tuple[np.ndarray, str]:
    """The text as numbers, and the characters that they stand for; what is not plain ASCII becomes a question mark."""
    text = text.encode("ascii", "replace").decode()
    characters = "".join(sorted(set(text)))
    place = {c: i for i, c in enumerate(characters)}
    return np.array([place[c] for c in text], np.int32), characters


class GPT(px.Module):
    """Characters to the scores of the next one: embedding, causal layers, and a norm and a map at the end."""

    def __init__(self, vocabulary: int, dim: int = 128, heads: int = 4, layers: int = 3):
        def block() -> px.Module:
            return px.TransformerEncoderLayer(
                dim, heads, norm_first=True, norm=px.RMSNorm, bias=False, dropout=0.0, causal=True,
                mlp=px.GatedMLP(dim, 3 * dim), positions=px.RotaryEmbedding(dim // heads),
            )  # fmt: skip

        self.embedding = px.Embedding(vocabulary, dim)
        self.blocks = px.TransformerEncoder(block, layers, norm=px.RMSNorm(dim))
        self.head = px.Dense(dim, vocabulary, bias=False)

    def __call__(self, tokens: jax.Array, cache: list | None = None) -> jax.Array:
        """Tokens (batch, time) to scores (batch, time, vocabulary)."""
        return self.head(self.blocks(self.embedding(tokens), cache=cache))


@px.jit
def train_step(model: GPT, opt: px.Optimizer, windows: jax.Array) -> jax.Array:
    """One step on windows (batch, time + 1): each character but the first is predicted from those before it."""

    def loss(model: GPT) -> jax.Array:
        return px.losses.cross_entropy(model(windows[:, :-1]), windows[:, 1:])

    value, grads = px.value_and_grad(loss)(model)
    opt.update(model, grads)
    return value


def train(
    model: GPT, data: np.ndarray, steps: int, *, batch: int, time: int, rate: float, seed: int = 0
) -> list[float]:
    """Train on random windows of the data, at a rate that rises for a tenth of the steps and then falls to zero."""
    schedule = lambda count: rate * jnp.minimum(10 * (count + 1) / steps, (1 - count / steps) / 0.9)  # noqa: E731
    opt = px.Optimizer(px.optim.Adam(schedule), model)
    draws = np.random.default_rng(seed)
    losses = []
    for step in range(steps):
        starts = draws.integers(0, len(data) - time, batch)
        losses.append(train_step(model, opt, jnp.asarray(data[starts[:, None] + np.arange(time + 1)])))
        if step % 100 == 0:
            print(f"step {step:5d}  loss {float(losses[-1]):.3f}")
    return [float(loss) for loss in losses]


def generate(model: GPT, prompt: np.ndarray, length: int, *, temperature: float = 0.8, seed: int = 0) -> np.ndarray:
    """Continue a prompt (batch, time), one character at a time; the cache holds what attention knows of the past."""
    step = px.jit(lambda model, tokens, cache: model(tokens, cache=cache)[:, -1])
    cache = model.blocks.init_cache(len(prompt), prompt.shape[1] + length)
    scores, key, written = step(model, jnp.asarray(prompt), cache), jax.random.key(seed), []
    for _ in range(length):
        key, draw = jax.random.split(key)
        written.append(jax.random.categorical(draw, scores / temperature))
        scores = step(model, written[-1][:, None], cache)
    return np.stack([np.asarray(token) for token in written], 1)


def main() -> None:
    """Train, and show what it writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    steps = parser.parse_args().steps
    data, characters = encoded(english())
    with px.seed(0):
        model = GPT(len(characters))
    print(f"{len(data)} characters, {len(characters)} different ones")
    train(model, data, steps, batch=16, time=128, rate=2e-3)
    prompt = "The for statement is used to "
    written = generate(model, np.array([[characters.index(c) for c in prompt]]), 400)
    print(prompt + "".join(characters[i] for i in written[0]))


if __name__ == "__main__":
    main()
