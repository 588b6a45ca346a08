"""Make the picture of the page on augmentation from scikit-learn's photographs; run it as a program."""

from __future__ import annotations

from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images

import phlox as px

TARGET = Path(__file__).resolve().parent / "images" / "augmentation.jpg"
DRAWS = 4

D = px.data
SHOWN = {
    "RandomCrop(120)": D.RandomCrop(120, key=0),
    "RandomFlip()": D.RandomFlip(key=0),
    "RandomAffine(25, scale=0.3, shear=15)": D.RandomAffine(25, scale=0.3, shear=15, key=0),
    "Cutout(60)": D.Cutout(60, key=0),
    'RandomErasing(fill="noise", p=1)': D.RandomErasing(fill="noise", p=1, key=0),
    "ColorJitter(0.4, 0.4, 0.4, hue=0.1)": D.ColorJitter(0.4, 0.4, 0.4, hue=0.1, key=0),
    "Grayscale(p=0.5)": D.Grayscale(p=0.5, key=0),
    "GaussianBlur((0.1, 4), p=1)": D.GaussianBlur((0.1, 4.0), p=1, key=0),
    "MixUp(1.0)": D.MixUp(1.0, key=0),
    "CutMix()": D.CutMix(key=0),
    "RandAugment(2, 9)": D.RandAugment(2, 9, key=0),
    "RandAugment(2, 20)": D.RandAugment(2, 20, key=0),
}


def photographs() -> np.ndarray:
    """A temple and a flower in turn, (DRAWS, 160, 160, 3)."""
    temple, flower = load_sample_images().images
    pair = [temple[60:380:2, 120:440:2], flower[40:360:2, 200:520:2]]
    return np.stack([pair[i % 2] for i in range(DRAWS)]).astype(np.float32) / 255


def row_of(augment: D.Augmentation, images: np.ndarray) -> np.ndarray:
    """The images changed, side by side."""
    y = np.eye(len(images), dtype=np.float32)
    changed, _ = augment(images, y, key=jax.random.key(1))
    gap = np.ones((changed.shape[1], 4, 3), np.float32)
    return np.concatenate([part for image in np.asarray(changed) for part in (image, gap)][:-1], 1).clip(0, 1)


def main() -> None:
    """Draw the grid."""
    images = photographs()
    height = -(-len(SHOWN) // 2)
    figure, axes = plt.subplots(height, 2, figsize=(11, 1.55 * height), layout="constrained")
    for axis, (name, augment) in zip(axes.T.ravel(), SHOWN.items(), strict=True):
        axis.axis("off")
        axis.imshow(row_of(augment, images))
        axis.set_title(name, fontsize=10, family="monospace", loc="left", pad=3)
    figure.savefig(TARGET, dpi=90, pil_kwargs={"quality": 82})


if __name__ == "__main__":
    main()
