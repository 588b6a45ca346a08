"""Run as a program: trains one step of a model, and prints what px.memory foretold and what the process then took.

Linux only: the high-water mark of the resident memory is read from /proc, and reset there.
"""

import gc
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

import phlox as px


def mlp():
    layers = [px.Dense(1024, 1024, px.relu) for _ in range(6)]
    return px.Chain(*layers, px.Dense(1024, 10)), [(8192, 1024)]


def cnn():
    def block(inner, outer):
        return px.Chain(px.Conv((3, 3), inner, outer, padding=1), px.BatchNorm(outer, px.relu))

    model = px.Chain(block(3, 32), block(32, 32), px.MaxPool((2, 2)), block(32, 64), px.GlobalMeanPool(), px.flatten)
    return model, [(64, 64, 64, 3)]


def lstm():
    return px.Chain(px.LSTM(128, 256), px.Dense(256, 10)), [(128, 128, 128)]


def transformer():
    return px.TransformerEncoder(lambda: px.TransformerEncoderLayer(256, 4, 1024, px.gelu), 2), [(16, 128, 256)]


class Bag(px.Module):
    """The mean of the vectors of some words, and what is read from it."""

    def __init__(self):
        self.table = px.Embedding(200_000, 64)
        self.read = px.Dense(64, 10)

    def __call__(self, words):
        return self.read(self.table(words).mean(1))


def embedding():
    return Bag(), [("int32", 4096, 64)]


def remat():
    def block():
        return px.Chain(px.Dense(512, 2048, px.gelu), px.Dense(2048, 512))

    return px.Chain(px.nn.RepeatedLayer(block, 12, remat=True), px.Dense(512, 10)), [(4096, 512)]


def small():
    return px.Chain(px.Dense(512, 1024, px.gelu), px.Dense(1024, 10)), [(16384, 512)]


def step(model, opt, *xs):
    loss, grads = px.value_and_grad(lambda model: (model(*xs) ** 2).mean())(model)
    opt.update(model, grads)
    return loss


def struct(shape):
    dtype, sizes = (shape[0], shape[1:]) if isinstance(shape[0], str) else ("float32", shape)
    return jax.ShapeDtypeStruct(sizes, dtype)


def zeros(tree):
    def filled(s):
        return jax.random.key(0) if jnp.issubdtype(s.dtype, jax.dtypes.prng_key) else jnp.zeros(s.shape, s.dtype)

    return px.map(filled, tree)


def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def main(name):
    build = globals()[name]
    xs = [struct(s) for s in build()[1]]
    model = px.eval_shape(lambda: build()[0])
    opt = px.eval_shape(lambda m: px.Optimizer(px.optim.Adam(1e-3), m), model)
    foretold = px.memory(step, model, opt, *xs)

    compiled = px.jit(step)

    def train(steps):
        state = zeros(model), zeros(opt), [jnp.zeros(x.shape, x.dtype) for x in xs]
        for _ in range(steps):
            jax.block_until_ready(compiled(*state[:2], *state[2]))

    train(1)  # compiles, and takes what the runtime keeps
    gc.collect()
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    train(3)
    used = status("VmHWM") - before
    print(json.dumps({"name": name, "foretold": foretold.total, "used": used, "table": str(foretold)}))


if __name__ == "__main__":
    main(sys.argv[1])
