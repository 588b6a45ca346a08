"""Makes the fixture of the newest version of bundles: ``python tests/interchange/make_bundle.py``; older ones stay."""

from pathlib import Path

import jax.numpy as jnp

import phlox as px
from phlox.interchange import About, Encoder

HERE = Path(__file__).parent / "bundles"


class Sum(px.Module):
    def __init__(self):
        self.dense, self.table = px.Dense(3, 2, px.tanh, key=0), px.Embedding(3, 2, key=1)

    def __call__(self, colour, x):
        return self.dense(x) + self.table(colour)


if __name__ == "__main__":
    model = Sum()
    model.dense.bias = jnp.array([0.5, -0.25])
    inputs = {"colour": px.Spec("batch", dtype="int32", below=3), "x": px.Spec("batch", 3)}
    about = About(
        version="2", classes=["no", "yes"], statistics={"rows": 4}, preprocessing={"mean": [0.0, 0.5]}, data="by hand",
        encoders={"colour": Encoder(["red", "blue", "other"], unknown=2)},
    )  # fmt: skip
    HERE.mkdir(exist_ok=True)
    print(
        px.export(model, HERE / "1", inputs=inputs, sizes={"batch": (1, 64)}, name="dense", about=about, overwrite=True)
    )
