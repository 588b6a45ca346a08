"""Tell digits apart without telling whose they were: a network trained privately, beside one that was not.

A fifth of the labels are wrong, as if typed in haste. A plain network learns those too, by heart; whoever has it can
tell which digits it was trained on. ``python examples/private_digits.py`` says how often, and what privacy costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import phlox as px

DELTA, BATCH, WRONG = 1e-4, 400, 0.2
Pair = tuple[np.ndarray, np.ndarray]


@dataclass
class Trained:
    """What came of a training: with which ε, how often right on clean digits, and how well an attack does."""

    epsilon: float
    accuracy: float
    attack: px.privacy.MembershipAttack


def digits() -> tuple[Pair, Pair, Pair]:
    """Digits to train on, others of the same kind that are not, both with wrong labels among them, and clean ones."""
    images, labels = px.data.digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))
    spoiled = np.where(rng.random(len(labels)) < WRONG, rng.integers(0, 10, len(labels)), labels).astype(np.int32)
    members, others, clean = order[:800], order[800:1400], order[1400:]
    return (images[members], spoiled[members]), (images[others], spoiled[others]), (images[clean], labels[clean])


def network() -> px.Chain:
    """Few weights, for each takes noise; no batch normalisation, which would mix examples."""
    return px.Chain(px.flatten, px.Dense(64, 32, px.tanh, key=0), px.Dense(32, 10, key=1))


def judged(model: px.Chain, epsilon: float) -> Trained:
    """How often a model is right on clean digits, and how well members are told from others."""
    members, others, (x, y) = digits()
    accuracy = float((np.asarray(px.predict(model, x)).argmax(-1) == y).mean())
    attack = px.privacy.attack_membership(model, px.losses.cross_entropy, members, others)
    return Trained(epsilon, accuracy, attack)


def plain(epochs: int = 200) -> Trained:
    """Trained as always, until it knows its examples by heart."""
    model, members = network(), digits()[0]
    given = dict(loss=px.losses.cross_entropy, optimizer=px.optim.Adam(1e-2), batch_size=100)
    px.fit(model, members, epochs=epochs, progress=False, **given)
    return judged(model, float("inf"))


def private(epsilon: float, epochs: int = 20) -> Trained:
    """Trained so that it is (ε, δ)-differentially private; seeds are there for the picture, and go in earnest."""
    model, members = network(), digits()[0]
    data = px.privacy.PoissonLoader(members, BATCH, seed=0)
    steps = epochs * len(data)
    noise = px.privacy.calibrate(epsilon, DELTA, sample_rate=data.sample_rate, steps=steps)
    opt = px.privacy.PrivateOptimizer(
        px.optim.Momentum(0.3, 0.9), model, clip=1.0, noise_multiplier=noise, batch_size=BATCH, examples=data.examples,
        seed=0,
    )  # fmt: skip
    px.fit(model, data, optimizer=opt, step=opt.step(px.losses.cross_entropy), epochs=epochs, progress=False)
    return judged(model, opt.epsilon(DELTA))


def main(epsilons: tuple[float, ...] = (1.0, 3.0, 8.0), epochs: int = 20) -> list[Trained]:
    """A plain training, and private ones."""
    return [plain(), *(private(epsilon, epochs) for epsilon in epsilons)]


if __name__ == "__main__":
    for found in main():
        bound = px.privacy.bound_advantage(found.epsilon, DELTA)
        print(
            f"epsilon {found.epsilon:.2f}: {found.accuracy:.1%} of clean digits right, members told by "
            f"{found.attack.advantage:.1%}, at most {bound:.1%}"
        )
