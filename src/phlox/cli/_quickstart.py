"""``phlox quickstart``: a first model, written as you would write it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

import phlox as px
from phlox import weights
from phlox.cli import _digits
from phlox.cli._digits import Images
from phlox.cli._history import History
from phlox.cli._outputs import Outputs
from phlox.cli._report import Report, draw_curves, require_drawing

BATCH = 64
LEARNING_RATE = 3e-3


def build() -> px.Chain:
    """A convolutional network: (batch, 8, 8, 1) images → (batch, 10) logits."""
    return px.Chain(
        px.Conv((3, 3), 1, 32, padding="SAME"),
        px.BatchNorm(32, px.relu),
        px.Conv((3, 3), 32, 64, padding="SAME"),
        px.BatchNorm(64, px.relu),
        px.MaxPool((2, 2)),
        px.Dropout(0.3),
        px.Conv((3, 3), 64, 64, padding="SAME"),
        px.BatchNorm(64, px.relu),
        px.MaxPool((2, 2)),
        px.flatten,
        px.Dropout(0.3),
        px.Dense(256, 10),
    )


@px.jit
def step(model: px.Chain, opt: px.Optimizer, images: Any, digits: Any) -> jax.Array:
    """One step down the gradient; the model and the optimiser change in place."""

    def loss_fn(model: px.Chain) -> jax.Array:
        return px.losses.cross_entropy(model(images), digits)

    loss, grads = px.value_and_grad(loss_fn)(model)
    opt.update(model, grads)
    return loss


@px.jit
def forward(model: px.Chain, images: Any) -> jax.Array:
    """Logits in inference: nothing is dropped, and nothing in the model moves."""
    return model(images)


def predict(model: px.Chain, data: Images) -> np.ndarray:
    """The logits of all images (n, 10), in batches of one size, so that one compiled program serves."""
    parts = np.split(data.images, len(data) // _digits.VALIDATION)
    return np.concatenate([forward(model, part) for part in parts])


def accuracy(model: px.Chain, data: Images) -> float:
    """The share of images whose digit the model tells."""
    return float(np.mean(predict(model, data).argmax(-1) == data.digits))


def train(model: px.Chain, data: Images, watch: Images, epochs: int, seed: int, report: Report) -> History:
    """Train a model in place, watching how well it does on other images."""
    order, history = np.random.default_rng(seed), History()
    steps = epochs * (len(data) // BATCH)
    schedule = optax.cosine_decay_schedule(LEARNING_RATE, steps)
    opt = px.Optimizer(px.optim.AdamW(schedule, weight_decay=0.01), model)

    history.compile_seconds = compile_once(model, opt, data, watch)
    start = time.perf_counter()
    for _ in report.epochs(epochs, history):
        losses = [step(model, opt, images, digits) for images, digits in data.batches(BATCH, order)]
        history.losses.append(float(np.mean(losses)))
        history.validation.append(accuracy(model, watch))
    history.train_seconds = time.perf_counter() - start
    return history


def compile_once(model: px.Chain, opt: px.Optimizer, data: Images, watch: Images) -> float:
    """Seconds that compiling takes: call each function once, on copies, so that the run starts untouched."""
    start = time.perf_counter()
    spare_model, spare_opt = px.copy((model, opt))
    float(step(spare_model, spare_opt, data.images[:BATCH], data.digits[:BATCH]))
    predict(spare_model, watch)
    return time.perf_counter() - start


def quickstart(out: Path, epochs: int, seed: int) -> None:
    """Train, test, save, load again, and show each of it."""
    report = Report()
    require_drawing()
    with Outputs(out, ("model.safetensors", "model.phlox", "metrics.json", "curves.png")) as outputs:
        data, watch, test = _digits.load()
        px.seed(seed)
        model = build()
        report.start(model, data, watch, test)

        history = train(model, data, watch, epochs, seed, report)
        logits = predict(model, test)
        report.result(test.digits, logits.argmax(-1), history)

        with outputs.staged() as folder:
            weights.save_safetensors(model, folder / "model.safetensors")
            px.save(model, folder / "model.phlox")  # with its structure, where the other file has weights alone
            report.write_metrics(folder / "metrics.json", history, seed)
            draw_curves(folder / "curves.png", history)

            px.seed(seed + 1)  # other weights, which the file replaces
            fresh = build()
            weights.load_safetensors(fresh, folder / "model.safetensors")
            report.reloaded(bool(np.array_equal(predict(fresh, test), logits)))
        report.written(out, outputs.names)
        report.serve_it(out / "model.phlox", "image=batch,8,8,1")
