"""The character GPT of ``char_gpt.py`` through px.fit: batches, schedule, validation and the record in one call.

Run it: ``python examples/char_gpt_fit.py``. It trains for a few minutes on a CPU, and then writes a text of its own.
"""

import argparse

import jax
import numpy as np
from char_gpt import GPT, encoded, english, generate

import phlox as px


def windows(data: np.ndarray, time: int) -> np.ndarray:
    """Stretches of time + 1 characters that overlap by half, (count, time + 1)."""
    return px.data.batch(px.data.sliding_windows(data, time + 1, stride=time // 2))


def loss(model: GPT, text: jax.Array) -> jax.Array:
    """Each character but the first is predicted from those before it, in nats."""
    return px.losses.cross_entropy(model(text[:, :-1]), text[:, 1:])


def main(steps: int, *, dim: int = 128, layers: int = 3, batch: int = 16, time: int = 128, rate: float = 2e-3) -> float:
    """Train on nine tenths of the text, show what the model writes, and return its loss on the last tenth."""
    data, characters = encoded(english())
    train, held_out = px.data.splitobs(data, 0.9)
    print(f"{len(data)} characters, {len(characters)} different ones")
    with px.seed(0):
        model = GPT(len(characters), dim=dim, layers=layers)
    history = px.fit(
        model,
        windows(train, time),
        loss=loss,
        optimizer=px.optim.Adam(px.optim.one_cycle(rate, steps, rise=0.1)),
        steps=steps,
        batch_size=batch,
        validation_data=windows(held_out, time),
        validation_every=steps // 4,
        clip=1.0,
    )
    losses = {step: row["val_loss"] for step, row in history.steps if "val_loss" in row}
    print("held out:", ", ".join(f"{value:.3f} nats after step {step}" for step, value in losses.items()))
    prompt = "The for statement is used to "
    written = generate(model, np.array([[characters.index(c) for c in prompt]]), 400)
    print(prompt + "".join(characters[i] for i in written[0]))
    return losses[steps]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    main(parser.parse_args().steps)
