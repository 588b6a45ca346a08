"""A perceptron 784–128–10: a step of it is mostly the road into the program, and many steps in one dispatch pay."""

from __future__ import annotations

from workloads import _dense
from workloads._workload import Workload, noise

MODELS = _dense.models(784, 128, 10)
WORKLOADS = [
    Workload("small-mlp", "MLP 784–128–10, batch 64", noise(64, 784, classes=10), MODELS, 1.0, 500, 100, tiny=True),
    Workload(
        "small-fit",
        "MLP 784–128–10, batch 16, 10,000 steps",
        noise(16, 784, classes=10),
        MODELS,
        1.0,
        10_000,
        100,
        tiny=True,
    ),
]
