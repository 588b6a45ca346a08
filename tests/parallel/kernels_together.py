"""Two processes that train together by kernels, and one device by plain forms; what each saw goes to a file."""

import json
import math
import sys
import warnings
from pathlib import Path

import jax
import numpy as np

import phlox as px
from parallel.checks_program import moves
from phlox.loop.steps._chunk import Program
from phlox.nn import reference_forms

px.parallel.initialize(timeout=60)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 6, 6, 2)).astype("float32"), RNG.integers(0, 3, 40).astype("int32")
TEXTS = []
one_by_one = Program._one_by_one


def network():
    with px.seed(1):
        return px.Chain(
            px.Conv((3, 3), 2, 16, px.relu, padding=1),
            px.MaxPool((3, 3), stride=2, padding=1),
            px.LayerNorm(16),
            px.Conv((3, 3), 16, 16, padding=1),
            px.flatten,
            px.Dense(144, 3),
        )


def fitted(loader, **where):
    model = network()
    given = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Descent(0.05), "epochs": 1}
    return model, px.fit(model, loader, progress=False, **given, **where)


def watched(self, model, opt, others, batches, ends):
    """The steps as ever; the text of the first program is kept."""
    if not TEXTS:
        TEXTS.append(self.single.lower(model, opt, others, batches[0], None).compile().as_text())
    return one_by_one(self, model, opt, others, batches, ends)


def main(folder):
    Program._one_by_one = watched
    together, history = fitted(px.DataLoader((X, Y), 8, shuffle=True), parallel=px.parallel.data_parallel())
    Program._one_by_one = one_by_one
    with reference_forms(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*trains by itself.*")
        loader = px.DataLoader((X, Y), 8, shard=(0, 1), shuffle=True)
        alone, of_one = fitted(loader)
    pairs = zip(px.paths(together).values(), px.paths(alone).values(), strict=True)
    found = {
        "losses": history.losses.tolist(),
        "losses of one": of_one.losses.tolist(),
        "distance": max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs),
        "calls": TEXTS[0].count("phlox_cpu_"),
        "messages": sorted(math.prod(shape) for _, shapes in moves(TEXTS[0]) for shape in shapes),
        "weights": sum(v.size for v in px.paths(together).values()),
    }
    (folder / f"{jax.process_index()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
