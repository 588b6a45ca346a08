"""Convolutions over raw audio: 16 clips of 8000 samples, four convolutions with pools of 4."""

from __future__ import annotations

from typing import Any

from workloads._workload import Workload, noise

LAYERS = ((80, 4, 1, 32), (3, 1, 32, 32), (3, 1, 32, 64), (3, 1, 64, 128))  # kernel, stride, channels in and out


def phlox() -> Any:
    import phlox as px

    convs = [
        m
        for kernel, stride, size, out in LAYERS
        for m in (px.Conv(kernel, size, out, px.relu, stride=stride), px.MaxPool((4,)))
    ]
    return px.Chain(*convs, px.GlobalMeanPool(), px.flatten, px.Dense(128, 10))


def plain(net: Any, x: Any) -> Any:
    import jax

    from workloads._plain_jax import max_pool

    for i, (kernel, stride, _, out) in enumerate(LAYERS):
        x = max_pool(jax.nn.relu(net.conv(str(i), x, kernel, out, stride, "VALID")), 4)
    return net.dense("head", x.mean(1), 10)


def flax(rngs: Any) -> Any:
    from flax import nnx

    pool = lambda x: nnx.max_pool(x, (4,), (4,))  # noqa: E731
    convs = [
        m
        for kernel, stride, size, out in LAYERS
        for m in (nnx.Conv(size, out, (kernel,), stride, padding="VALID", rngs=rngs), nnx.relu, pool)
    ]
    return nnx.Sequential(*convs, lambda x: x.mean(1), nnx.Linear(128, 10, rngs=rngs))


def equinox(key: Any) -> Any:
    import equinox as eqx
    import jax

    keys = jax.random.split(key, 5)
    convs = [
        m
        for (kernel, stride, size, out), k in zip(LAYERS, keys[1:], strict=True)
        for m in (
            eqx.nn.Conv1d(size, out, kernel, stride, key=k),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.MaxPool1d(4, 4),
        )
    ]
    return eqx.nn.Sequential([*convs, eqx.nn.Lambda(lambda x: x.mean(1)), eqx.nn.Linear(128, 10, key=keys[0])]), None


def keras() -> Any:
    from keras import Sequential, layers

    convs = [
        m
        for kernel, stride, _, out in LAYERS
        for m in (layers.Conv1D(out, kernel, stride, activation="relu"), layers.MaxPooling1D(4))
    ]
    return Sequential([layers.Input((8000, 1)), *convs, layers.GlobalAveragePooling1D(), layers.Dense(10)])


def torch() -> Any:
    from torch import nn

    convs = [
        m
        for kernel, stride, size, out in LAYERS
        for m in (nn.Conv1d(size, out, kernel, stride), nn.ReLU(), nn.MaxPool1d(4))
    ]
    return nn.Sequential(*convs, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, 10))


MODELS = {"phlox": phlox, "jax": plain, "flax": flax, "equinox": equinox, "keras": keras, "torch": torch}
WORKLOADS = [
    Workload("audio", "1-d convolutions, 16×8000 samples", noise(16, 8000, 1, classes=10), MODELS, 1.0, 4, space=1)
]
