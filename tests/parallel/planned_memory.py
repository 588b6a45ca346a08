"""Run as a program with eight devices: a plan, then the training, and what the process took for it; Linux only.

The high-water mark of the resident memory is read from /proc, and reset there.
"""

import gc
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from phlox.parallel.planning._strategies import strategy_of

WIDTH, ROWS, DEPTH = 512, 8192, 4


def block():
    return px.Chain(px.Dense(WIDTH, 2 * WIDTH, px.gelu), px.Dense(2 * WIDTH, WIDTH))


def build():
    return px.Chain(px.nn.RepeatedLayer(block, DEPTH), px.Dense(WIDTH, 16))


def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def main(text):
    loss, rule, strategy = px.losses.cross_entropy, px.optim.Adam(1e-3), strategy_of(text, "")
    shapes = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32), jax.ShapeDtypeStruct((ROWS,), jnp.int32)
    (row,) = px.parallel.plan(build, rule, shapes, loss=loss, topology="cpu:8", strategies=[strategy]).rows
    data = np.ones((ROWS, WIDTH), np.float32), np.zeros((ROWS,), np.int32)

    def train(steps):
        model = px.parallel.create(build, strategy)
        given = {"loss": loss, "optimizer": rule, "batch_size": ROWS, "multi_step": 1, "progress": False}
        px.fit(model, data, epochs=steps, parallel=strategy, **given)

    train(1)  # compiles, and takes what the runtime keeps
    gc.collect()
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    train(3)
    used = status("VmHWM") - before
    print(json.dumps({"foretold": 8 * row.total, "used": used, "table": str(row.memory)}))


if __name__ == "__main__":
    main(sys.argv[1])
