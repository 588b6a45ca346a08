"""A digit drawn with the mouse, read in the browser: trains a small network, and writes the page that runs it.

Run it: ``python examples/deploy/digits.py --out digits``, where npm has put ``onnxruntime-web``. It trains for under a
minute on a CPU. What is drawn may stand anywhere, in any size: finding it is part of the exported program.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import phlox as px

CANVAS, CELLS, MARGIN = 112, 12, 2  # pixels that come in; cells that the network sees, and those around the digit
LOW = 50.5 / 255  # ink below it is none; between two levels, so that no rounding decides
DRAWN = 68  # pixels that a digit of the data is high, as if it were drawn
WIDTHS, LEVELS = (0.8, 1.0, 1.25, 1.55), (0.3, 0.5, 0.7)  # how wide it is, and from which ink on it is one


def centred(image: jax.Array) -> jax.Array:
    """Pictures (batch, height, width, 1), light on dark, as cells (batch, 12, 12, 1) around what is drawn."""
    ink = image[..., 0].astype(jnp.float32) / 255
    down, across = (_edges(ink.max(axis)) for axis in (2, 1))
    side = jnp.maximum(down[1] - down[0], across[1] - across[0]) * CELLS / (CELLS - 2 * MARGIN)
    rows, columns = (
        _triangles((first + end) / 2, side, ink.shape[1 + i]) for i, (first, end) in enumerate((down, across))
    )
    return jnp.einsum("bih,bhw,bjw->bij", rows, ink, columns)[..., None]


def _edges(profile: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where ink begins and ends along an axis (batch, length); the whole axis where there is none."""
    there = (profile > LOW).astype(jnp.float32)
    first, last = jnp.argmax(there, -1), profile.shape[-1] - jnp.argmax(there[:, ::-1], -1)
    return first.astype(jnp.float32), last.astype(jnp.float32)


def _triangles(centre: jax.Array, side: jax.Array, length: int) -> jax.Array:
    """How much of each pixel a cell takes (batch, cells, length): triangles, which let no detail slip through."""
    cell = (side / CELLS)[:, None, None]
    middles = centre[:, None, None] + (jnp.arange(CELLS, dtype=jnp.float32)[:, None] - (CELLS - 1) / 2) * cell
    reach = jnp.maximum(cell, 1)
    return jnp.maximum(0, 1 - jnp.abs(jnp.arange(length) + 0.5 - middles) / reach) / reach


def shares(scores: jax.Array) -> dict[str, jax.Array]:
    """The network's scores as shares of one."""
    return {"shares": px.softmax(scores)}


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """1797 handwritten digits (count, 8, 8, 1) in [0, 1], and what they are."""
    images, labels = load_digits(return_X_y=True)
    return (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32), labels.astype(np.int32)


def drawn(images: np.ndarray, width: float = 1.0, level: float = 0.5) -> np.ndarray:
    """The same as a mouse draws them (count, 112, 112, 1), uint8: sharp, wider or narrower, with more ink or less."""
    across = 2 * round(DRAWN / 2 * width)
    large = jax.image.resize(images, (len(images), DRAWN, across, 1), "cubic")
    sharp = jnp.clip(4 * (large - level) + 0.5, 0, 1) * 255
    down, side = (CANVAS - DRAWN) // 2, (CANVAS - across) // 2
    return np.asarray(jnp.pad(sharp, ((0, 0), (down, down), (side, side), (0, 0)))).astype(np.uint8)


def in_all_ways(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the network sees of digits drawn in all widths and with all amounts of ink."""
    see = jax.jit(centred)
    cells = [np.asarray(see(drawn(images, width, level))) for width in WIDTHS for level in LEVELS]
    return np.concatenate(cells), np.tile(labels, len(cells))


def network() -> px.Chain:
    """Digits that are turned, moved and scaled anew at every step, in training only."""
    return px.Chain(
        px.data.RandomAffine(15, translation=0.06, scale=0.15, shear=12),
        px.Conv((3, 3), 1, 32, padding=1), px.BatchNorm(32, px.relu),
        px.Conv((3, 3), 32, 32, padding=1), px.BatchNorm(32, px.relu), px.MaxPool((2, 2)),
        px.Conv((3, 3), 32, 64, padding=1), px.BatchNorm(64, px.relu), px.MaxPool((2, 2)),
        px.flatten, px.Dropout(0.3), px.Dense(576, 10),
    )  # fmt: skip


def train(epochs: int) -> tuple[px.Chain, float]:
    """The network, and the share of unseen digits, in all ways of drawing them, that it reads."""
    seen, unseen = px.data.splitobs(pictures(), 0.8, stratify=pictures()[1], seed=0)
    seen, unseen = in_all_ways(*map(np.asarray, seen)), in_all_ways(*map(np.asarray, unseen))
    with px.seed(0):
        model = network()
    rule = px.optim.AdamW(px.optim.one_cycle(3e-3, epochs * len(px.DataLoader(seen, 64))), weight_decay=1e-3)
    px.fit(model, seen, loss=px.losses.cross_entropy, optimizer=rule, epochs=epochs, batch_size=64)
    found = px.evaluate(model, unseen, loss=px.losses.cross_entropy, metrics={"accuracy": px.metrics.Accuracy()})
    return model, float(found["accuracy"])


def export(model: px.Module, folder: Path, to: list[str], batch: int | str = "batch") -> px.interchange.ExportReport:
    """The bundle, tried on digits as they are drawn; LiteRT has a batch of one size."""
    some = drawn(pictures()[0][:8])
    examples = [{"image": some[:n]} for n in ((8, 1) if isinstance(batch, str) else (batch,))]
    return px.export(
        model, folder, to=to, inputs={"image": px.Spec(batch, CANVAS, CANVAS, 1, dtype="uint8", below=256)},
        preprocess=centred, postprocess=shares, examples=examples, name="A digit",
        about=px.interchange.About(classes=[str(digit) for digit in range(10)]), overwrite=True,
    )  # fmt: skip


def main(out: Path, epochs: int = 4, to: tuple[str, ...] = ("onnx", "web"), batch: int | str = "batch") -> float:
    """Train, write the bundle and a drawing for the other programs, and return the accuracy."""
    model, accuracy = train(epochs)
    print(f"read {100 * accuracy:.1f} % of digits that it had not seen")
    print(export(model, out, list(to), batch))
    drawing = drawn(pictures()[0][-1:])
    drawing.tofile(f"{out}.raw")
    wanted = px.jit(lambda model, x: shares(model(centred(x)))["shares"])(model, drawing)[0]
    print(f"{out}.raw is read as {int(np.argmax(wanted))}:", *(f"{share:.9g}" for share in np.asarray(wanted)))
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("digits"), help="the bundle to write")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--to", nargs="+", default=["onnx", "web"], help="formats")
    parser.add_argument("--batch", type=int, help="pictures at once, where a format has no open size; by default any")
    options = parser.parse_args()
    main(options.out, options.epochs, tuple(options.to), options.batch or "batch")
