"""LeNet: two convolutions 5×5 with pools, then dense layers, on 64 images of 28×28."""

from __future__ import annotations

from typing import Any

from workloads._workload import Workload, noise


def phlox() -> Any:
    import phlox as px

    return px.Chain(
        px.Conv((5, 5), 1, 16, px.relu, padding="SAME"),
        px.MaxPool((2, 2)),
        px.Conv((5, 5), 16, 32, px.relu, padding="SAME"),
        px.MaxPool((2, 2)),
        px.flatten,
        px.Dense(7 * 7 * 32, 128, px.relu),
        px.Dense(128, 10),
    )


def plain(net: Any, x: Any) -> Any:
    import jax

    from workloads._plain_jax import max_pool

    x = max_pool(jax.nn.relu(net.conv("conv1", x, 5, 16)), 2)
    x = max_pool(jax.nn.relu(net.conv("conv2", x, 5, 32)), 2)
    x = jax.nn.relu(net.dense("hidden", x.reshape(len(x), -1), 128))
    return net.dense("end", x, 10)


def flax(rngs: Any) -> Any:
    from flax import nnx

    pool = lambda x: nnx.max_pool(x, (2, 2), (2, 2))  # noqa: E731
    return nnx.Sequential(
        nnx.Conv(1, 16, (5, 5), rngs=rngs), nnx.relu, pool,
        nnx.Conv(16, 32, (5, 5), rngs=rngs), nnx.relu, pool,
        lambda x: x.reshape(len(x), -1),
        nnx.Linear(7 * 7 * 32, 128, rngs=rngs), nnx.relu, nnx.Linear(128, 10, rngs=rngs),
    )  # fmt: skip


def equinox(key: Any) -> Any:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    keys, relu = jax.random.split(key, 4), eqx.nn.Lambda(jax.nn.relu)
    return eqx.nn.Sequential([
        eqx.nn.Conv2d(1, 16, 5, padding="SAME", key=keys[0]), relu, eqx.nn.MaxPool2d(2, 2),
        eqx.nn.Conv2d(16, 32, 5, padding="SAME", key=keys[1]), relu, eqx.nn.MaxPool2d(2, 2),
        eqx.nn.Lambda(jnp.ravel),
        eqx.nn.Linear(7 * 7 * 32, 128, key=keys[2]), relu, eqx.nn.Linear(128, 10, key=keys[3]),
    ]), None  # fmt: skip


def keras() -> Any:
    from keras import Sequential, layers

    conv = lambda out: layers.Conv2D(out, 5, padding="same", activation="relu")  # noqa: E731
    return Sequential([
        layers.Input((28, 28, 1)), conv(16), layers.MaxPooling2D(), conv(32), layers.MaxPooling2D(),
        layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dense(10),
    ])  # fmt: skip


def torch() -> Any:
    from torch import nn

    conv = lambda size, out: (nn.Conv2d(size, out, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))  # noqa: E731
    return nn.Sequential(
        *conv(1, 16), *conv(16, 32), nn.Flatten(), nn.Linear(7 * 7 * 32, 128), nn.ReLU(), nn.Linear(128, 10)
    )


MODELS = {"phlox": phlox, "jax": plain, "flax": flax, "equinox": equinox, "keras": keras, "torch": torch}
WORKLOADS = [
    Workload("lenet", "LeNet, 64 images 28×28", noise(64, 28, 28, 1, classes=10), MODELS, bar=0.8, steps=8, space=2)
]
