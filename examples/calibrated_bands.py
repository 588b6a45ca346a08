"""Regression with bands that hold what they say, where the noise grows and a part of the line was never seen.

``python examples/calibrated_bands.py`` says how many unseen targets lie within each band.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import phlox as px

SHARES = (0.5, 0.8, 0.9, 0.95)  # of targets that each band is to hold


def wave(x: np.ndarray) -> np.ndarray:
    """What is to be found."""
    return np.sin(2 * x) + 0.3 * x


def noise(x: np.ndarray) -> np.ndarray:
    """The standard deviation of what is measured: the further to the right, the worse."""
    return 0.1 + 0.2 * (x + 3) / 3


def measured(examples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (examples, 1) left and right of a gap, and targets."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, (4 * examples, 1))
    x = x[np.abs(x[:, 0] - 0.2) > 0.7][:examples]
    return x.astype("float32"), (wave(x) + noise(x) * rng.normal(size=x.shape)).astype("float32")


def network() -> px.Chain:
    """A mean and a standard deviation for each input."""
    return px.Chain(px.Dense(1, 64, px.tanh), px.Dense(64, 64, px.tanh), px.probability.NormalHead(64, 1))


@dataclass
class Found:
    """What came of it, for the picture."""

    ensemble: px.probability.Ensemble
    train: tuple[np.ndarray, np.ndarray]
    held: dict[float, float]  # by the share that a band is to hold, the share that it holds
    held_by_one_width: dict[float, float]  # the same on the right, where all targets get the same band


def held(prediction: px.probability.Distribution, y: np.ndarray) -> dict[float, float]:
    """The share of targets within each band."""
    ends = {share: prediction.interval(share) for share in SHARES}
    return {share: float(np.mean((low < y) & (y < high))) for share, (low, high) in ends.items()}


def main(epochs: int = 300) -> Found:
    """Train five networks side by side, and count unseen targets within their bands."""
    x, y = measured(600, seed=0)
    with px.seed(0):
        ensemble = px.probability.Ensemble(network, 5)
    px.fit(
        ensemble, (x, y), loss=px.probability.each_member(px.probability.nll), epochs=epochs, batch_size=100,
        optimizer=px.optim.AdamW(3e-3, weight_decay=1e-2), progress=False,
    )  # fmt: skip
    unseen, targets = measured(4000, seed=1)
    said = px.predict(px.probability.Predictive(ensemble), unseen, batch_size=1000)
    right = unseen[:, 0] > 1.5  # bands of one width hold the right share of all targets, and a wrong one here
    width = np.full(int(right.sum()), np.std(np.asarray(said.mean) - targets))
    one_width = px.probability.Normal(said.mean[right, 0], width)
    return Found(ensemble, (x, y), held(said, targets), held(one_width, targets[right, 0]))


if __name__ == "__main__":
    for share, seen in main().held.items():
        print(f"{share:.0%} band: {seen:.1%} of unseen targets")
