"""Tell digits that a model never saw from those it knows: a flow learns a density, a conformal detector a threshold.

``python examples/strange_digits.py`` prints how many of each are called strange, and how well scores tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

import phlox as px

KNOWN = 5  # digits 0 … 4 are known, 5 … 9 are strange


@dataclass
class Found:
    """What came of it, for the picture."""

    images: dict[str, np.ndarray]  # (count, 8, 8)
    scores: dict[str, np.ndarray]  # -log p, in nats
    strange: dict[str, float]  # the share called strange
    threshold: float
    ranking: dict[str, float]  # the area under the ROC curve, by score


def digits(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 8, 8) from 0 to 1 in a drawn order, and which digit each is."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    return (data.images[order] / 16).astype(np.float32), data.target[order]


class Components(px.Module):
    """The directions in which images differ most, on the scale of 1."""

    def __init__(self, images: np.ndarray, count: int):
        flat = images.reshape(len(images), -1)
        self.mean: px.State = flat.mean(0)
        _, spread, directions = np.linalg.svd(flat - self.mean, full_matrices=False)
        self.directions: px.State = directions[:count].T / spread[:count] * len(images) ** 0.5

    def __call__(self, images: np.ndarray) -> jax.Array:
        return (images.reshape(len(images), -1) - self.mean) @ self.directions


def area(known: np.ndarray, strange: np.ndarray) -> float:
    """The chance that a strange image has the higher score."""
    metric = px.metrics.ROCAUC(capacity=len(known) + len(strange))
    scores, which = np.append(known, strange), np.repeat([0, 1], [len(known), len(strange)])
    ranks = scores.argsort().argsort() / len(scores)  # from 0 to 1, as the metric wants probabilities
    metric.update(ranks.astype(np.float32), which)
    return float(metric.compute())


def main(epochs: int = 60, count: int = 48, false_alarms: float = 0.05) -> Found:
    """Train on known digits, calibrate on others of them, and try both kinds."""
    images, which = digits()
    known, strange = images[which < KNOWN], images[which >= KNOWN]
    train, held_out, tried = known[:400], known[400:650], known[650:]
    components = Components(train, count)
    flow = px.probability.real_nvp(count, 6, hidden=(64,), key=0)
    rng = np.random.default_rng(0)
    noisy = [(train + 0.15 * rng.normal(size=train.shape)).astype(np.float32) for _ in range(8)]
    x = np.concatenate([np.asarray(components(v)) for v in noisy])
    flow.initialise(x)
    px.fit(flow, x, loss=lambda model, x: model.loss(x), optimizer=px.optim.AdamW(1e-3), epochs=epochs, batch_size=100)
    score = px.jit(lambda flow, x: -flow.log_prob(x))
    groups = {"known": tried, "strange": strange}
    scores = {name: np.asarray(score(flow, components(v))) for name, v in groups.items()}
    ordinary = np.asarray(score(flow, components(held_out)))
    detector = px.probability.ConformalDetector(false_alarms).calibrate(ordinary)
    called = {name: float(np.mean(detector(s))) for name, s in scores.items()}
    length = {name: np.square(np.asarray(components(v))).sum(1) for name, v in groups.items()}
    return Found(
        groups,
        scores,
        called,
        float(np.quantile(ordinary, 1 - false_alarms)),
        {"the flow": area(*scores.values()), "one normal distribution": area(*length.values())},
    )


if __name__ == "__main__":
    found = main()
    for name, share in found.strange.items():
        print(f"{name}: {share:.1%} are called strange")
    for name, area_ in found.ranking.items():
        print(f"{name}: {area_:.3f} of pairs are told apart")
