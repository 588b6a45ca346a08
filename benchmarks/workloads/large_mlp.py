"""A perceptron 1024–2048–2048–10: matrix products, and the optimiser's way through 6 million weights."""

from __future__ import annotations

from workloads import _dense
from workloads._workload import Workload, noise

WORKLOADS = [
    Workload(
        "large-mlp",
        "MLP 1024–2048–2048–10, batch 256",
        noise(256, 1024, classes=10),
        _dense.models(1024, 2048, 2048, 10),
        bar=0.9,
        steps=4,
    )
]
