"""Make the picture of the page on calibrated bands: ``python docs/make_probability_image.py``."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT / "examples"))


def main() -> None:
    """Data, bands and members; and what bands hold beside what they say."""
    import calibrated_bands as example

    import phlox as px

    found = example.main()
    x = np.linspace(-4.5, 4.5, 400, dtype="float32")[:, None]
    outputs = found.ensemble(x)
    said = px.probability.mixture(outputs)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", width_ratios=(2, 1))
    for share, shade in ((0.95, 0.15), (0.8, 0.2), (0.5, 0.3)):
        low, high = said.interval(share)
        left.fill_between(
            x[:, 0], low[:, 0], high[:, 0], color="tab:blue", alpha=shade, linewidth=0, label=f"{share:.0%}"
        )
    for member in np.asarray(outputs.mean):
        left.plot(x[:, 0], member[:, 0], color="tab:blue", linewidth=0.6)
    left.plot(x[:, 0], example.wave(x[:, 0]), "--", color="black", linewidth=0.8, label="what is to be found")
    left.plot(*found.train, ".", color="black", markersize=2)
    left.set(ylim=(-3.5, 3.5), title="five networks, and bands of what they say together")
    left.legend(fontsize=8, ncols=2)
    right.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    right.plot(found.held.keys(), found.held.values(), "o", label="all unseen targets")
    right.plot(
        found.held_by_one_width.keys(), found.held_by_one_width.values(), "x", label="bands of one width, x > 1.5"
    )
    right.set(
        xlabel="what a band is to hold", ylabel="what it holds", xlim=(0.4, 1), ylim=(0.2, 1), title="calibration"
    )
    right.legend(fontsize=8)
    figure.savefig(IMAGES / "calibrated_bands.png", dpi=90)
    print({share: round(value, 3) for share, value in found.held.items()})


if __name__ == "__main__":
    main()
