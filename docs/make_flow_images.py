"""Make the pictures of the pages on calibration and flows: ``python docs/make_flow_images.py [name …]``."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

import phlox as px

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT / "examples"))
BLUE, ORANGE = "#3b7dd8", "#c97316"


def reliability() -> None:
    """A network that is too sure of noisy digits, before and after temperature scaling."""
    import strange_digits as example

    images, which = example.digits()
    x = (images + 0.4 * np.random.default_rng(0).normal(size=images.shape)).astype(np.float32).reshape(len(images), -1)
    model = px.Chain(px.Dense(64, 128, px.relu, key=0), px.Dense(128, 10, key=1))
    data = x[:600], which[:600]
    px.fit(model, data, loss=px.losses.cross_entropy, optimizer=px.optim.Adam(3e-3), epochs=40, progress=False)
    scaling = px.probability.TemperatureScaling().fit(model(x[600:1100]), which[600:1100])
    logits = model(x[1100:])
    said = {"before": jax.nn.softmax(logits), "after": scaling(logits)}
    found = {name: px.probability.reliability(p, which[1100:], classes=True, bins=10) for name, p in said.items()}
    for name, one in found.items():
        one.plot(f"{name}: calibration error {one.error:.1%}", IMAGES / f"reliability_{name}.png")
        print(name, f"{one.error:.1%}", scaling)
    figure, axes = plt.subplots(1, 2, figsize=(8, 4.7), layout="constrained")
    for part, name in zip(axes, said, strict=True):
        part.imshow(plt.imread(IMAGES / f"reliability_{name}.png"))
        part.set_axis_off()
        (IMAGES / f"reliability_{name}.png").unlink()
    figure.savefig(IMAGES / "reliability.png", dpi=110)


def strange_digits() -> None:
    """How strange digits are by the flow, with the threshold, and the strangest of both kinds."""
    import strange_digits as example

    found = example.main()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    edges = np.linspace(min(v.min() for v in found.scores.values()), np.quantile(found.scores["strange"], 0.98), 40)
    for (name, scores), colour in zip(found.scores.items(), (BLUE, ORANGE), strict=True):
        told = f"{name}: {found.strange[name]:.1%} called strange"
        left.hist(scores.clip(max=edges[-1]), edges, density=True, alpha=0.6, color=colour, label=told)
    left.axvline(found.threshold, color="grey", linewidth=0.8)
    left.set(xlabel="-log p, in nats", yticks=[])
    left.legend(fontsize=8)
    order = {name: np.argsort(scores) for name, scores in found.scores.items()}
    shown = {
        "known, most ordinary": found.images["known"][order["known"][:8]],
        "known, strangest": found.images["known"][order["known"][-8:]],
        "strange, most ordinary": found.images["strange"][order["strange"][:8]],
        "strange, strangest": found.images["strange"][order["strange"][-8:]],
    }
    rows = [np.concatenate([np.pad(v, 1) for v in images], 1) for images in shown.values()]
    right.imshow(1 - np.concatenate(rows), cmap="gray")
    right.set(xticks=[], yticks=[5 + 10 * n for n in range(4)], yticklabels=list(shown))
    right.tick_params(labelsize=8)
    figure.savefig(IMAGES / "strange_digits.png", dpi=90)
    print("strange_digits:", found.strange, found.ranking)


if __name__ == "__main__":
    for name in sys.argv[1:] or ("reliability", "strange_digits"):
        globals()[name]()
