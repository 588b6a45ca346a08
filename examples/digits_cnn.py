"""Handwritten digits: a small convolutional network that sees them turned, moved and scaled anew at every step.

Run it: ``python examples/digits_cnn.py``. It trains for under a minute on a CPU.
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits

import phlox as px


def digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """1797 digits of 8 × 8 pixels in [0, 1] and what they are, a fifth of each kind for the test."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    return px.data.splitobs((images, labels.astype(np.int32)), 0.8, stratify=labels, seed=0)


def network() -> px.Chain:
    """Augmentation first: it acts in training only, as dropout does."""
    return px.Chain(
        px.data.RandomAffine(12, translation=0.1, scale=0.1, shear=8),
        px.Conv((3, 3), 1, 32, padding=1), px.BatchNorm(32, px.relu),
        px.Conv((3, 3), 32, 32, padding=1), px.BatchNorm(32, px.relu), px.MaxPool((2, 2)),
        px.Conv((3, 3), 32, 64, padding=1), px.BatchNorm(64, px.relu), px.MaxPool((2, 2)),
        px.flatten, px.Dropout(0.3), px.Dense(256, 10),
    )  # fmt: skip


def main(epochs: int) -> float:
    """Train, and return the accuracy on the test images."""
    train, test = digits()
    px.seed(0)
    model = network()
    px.fit(
        model,
        train,
        loss=px.losses.cross_entropy,
        optimizer=px.optim.AdamW(px.optim.one_cycle(3e-3, epochs * len(px.DataLoader(train, 64))), weight_decay=1e-3),
        epochs=epochs,
        batch_size=64,
    )
    results = px.evaluate(model, test, loss=px.losses.cross_entropy, metrics={"accuracy": px.metrics.Accuracy()})
    print(f"test accuracy {results['accuracy']:.4f} of {len(test[1])} images, loss {results['loss']:.4f}")
    return results["accuracy"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40)
    main(parser.parse_args().epochs)
