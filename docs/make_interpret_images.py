"""Make the pictures of the page on attributions: a small network trained on digits asked what it looked at."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import phlox as px

IMAGES = Path(__file__).resolve().parent / "images"
I = px.interpret  # noqa: E741


def digits() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 8, 8, 1) from 0 to 1, and which digit each is."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images[..., None] / 16).astype(np.float32), data.target.astype(np.int32)


def trained(x: np.ndarray, y: np.ndarray) -> px.Chain:
    """A network of two convolutions."""
    with px.seed(0):
        model = px.Chain(
            px.Conv((3, 3), 1, 16, px.relu, padding=1),
            px.Conv((3, 3), 16, 32, px.relu, padding=1),
            px.MaxPool((2, 2)),
            px.flatten,
            px.Dense(512, 10),
        )
        px.fit(model, (x, y), loss=px.losses.cross_entropy, optimizer=px.optim.Adam(2e-3), epochs=12, progress=False)
    return model


def maps(model: px.Chain, x: np.ndarray, y: np.ndarray) -> dict[str, I.Attribution]:
    """What each method finds in some digits."""
    some, which, rest = x[[3, 17, 8]], y[[3, 17, 8]], x[100:200]
    ask = {"target": which}
    return {
        "saliency": I.saliency(model, some, **ask),
        "integrated gradients": I.integrated_gradients(model, some, **ask),
        "expected gradients": I.expected_gradients(model, some, baselines=rest, samples=200, key=0, **ask),
        "DeepLift": I.deep_lift(model, some, **ask),
        "LRP, γ = 0.25": I.lrp(model, some, rules=I.Gamma(0.25), **ask),
        "guided backprop": I.guided_backprop(model, some, **ask),
        "Grad-CAM": I.grad_cam(model, some, layer="layers.1", relu=False, **ask),
        "occlusion": I.occlusion(model, some, window=(2, 2), stride=1, **ask),
        "Shapley sampling": I.shapley_sampling(model, some, samples=50, key=0, **ask),
    }


def main() -> None:
    """Draw the methods side by side, one attribution alone, and two curves."""
    x, y = digits()
    model = trained(x[:1500], y[:1500])
    found = maps(model, x, y)
    figure, axes = plt.subplots(3, len(found) + 1, figsize=(13, 4.4), layout="constrained")
    for row in range(3):
        axes[row, 0].imshow(x[[3, 17, 8][row], ..., 0], cmap="gray_r")
        for axis, (name, one) in zip(axes[row, 1:], found.items(), strict=True):
            values = np.asarray(one.values[row]).sum(-1)
            most = np.abs(values).max() or 1.0
            axis.imshow(values, cmap="RdBu", vmin=-most, vmax=most)
            axis.set_title(name if row == 0 else "", fontsize=9)
    for axis in axes.ravel():
        axis.set_axis_off()
    figure.savefig(IMAGES / "attributions.png", dpi=90)
    found["integrated gradients"].plot(row=0, path=IMAGES / "attribution.png")
    curves = I.curves(model, x[:100], I.integrated_gradients(model, x[:100], target=y[:100]), target=y[:100])
    curves.plot(path=IMAGES / "attribution_curves.png")


if __name__ == "__main__":
    main()
