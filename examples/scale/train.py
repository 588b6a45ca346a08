"""Handwritten digits on one core or many, in one process or several: the line that says how is ``parallel=``.

Run it: ``python examples/scale/train.py``, or in two processes ``phlox launch --processes 2 examples/scale/train.py``.
"""

import argparse
import json

import jax
import numpy as np
from sklearn.datasets import load_digits

import phlox as px


def digits(dtype: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """1797 digits of 8 × 8 pixels in [0, 1] and what they are, a fifth of them for the test."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype(dtype)
    return px.data.splitobs((images, labels.astype(np.int32)), 0.8, stratify=labels, seed=0)


def network() -> px.Chain:
    """A small convolutional network, with statistics of whole batches and with dropout."""
    return px.Chain(
        px.Conv((3, 3), 1, 8, padding=1), px.BatchNorm(8, px.relu), px.MaxPool((2, 2)),
        px.flatten, px.Dense(128, 64, px.relu), px.Dropout(0.2), px.Dense(64, 10),
    )  # fmt: skip


def main(strategy: str, steps: int, wide: bool, out: str | None) -> px.History:
    """Train, print the accuracy on the test images, and return what was measured."""
    px.parallel.initialize()  # does nothing in one process
    jax.config.update("jax_enable_x64", wide)
    train, test = digits("float64" if wide else "float32")
    px.seed(0)
    model = px.f64(network()) if wide else network()
    kinds = {"none": None, "data": px.parallel.data_parallel(), "fsdp": px.parallel.fsdp(whole=64)}
    history = px.fit(
        model,
        train,
        loss=px.losses.cross_entropy,
        optimizer=px.optim.AdamW(3e-3),
        steps=steps,
        batch_size=64,
        validation_data=test,
        validation_every=max(1, steps // 2),
        metrics={"accuracy": px.metrics.Accuracy()},
        parallel=kinds[strategy],
    )
    if jax.process_index() == 0:
        print(f"accuracy on {len(test[1])} images never seen: {history.logged('val_accuracy')[-1][1]:.3f}")
    if out is not None:
        found = {"losses": history.losses.tolist(), "rows": list(history), "steps": history.steps}
        with open(f"{out}.{jax.process_index()}", "w") as file:
            json.dump(found, file)
    return history


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", choices=("none", "data", "fsdp"), default="data")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--float64", action="store_true")
    parser.add_argument("--out", help="where to write what was measured, a file for each process")
    given = parser.parse_args()
    main(given.strategy, given.steps, given.float64, given.out)
