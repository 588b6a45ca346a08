"""A residual network of six blocks, 64–64–128–128–256–256, with batch norm, on 32 images of 32×32."""

from __future__ import annotations

from itertools import pairwise

from workloads._residual import Block, Plan, Unit, models
from workloads._workload import Workload, noise

BLOCKS = tuple(
    Block((Unit(3, size, out, 1 if size == out else 2), Unit(3, out, out)))
    for size, out in pairwise((64, 64, 64, 128, 128, 256, 256))
)
PLAN = Plan(32, Unit(3, 3, 64), False, BLOCKS, 10)
WORKLOADS = [
    Workload(
        "small-resnet",
        "ResNet of 6 blocks, 32 images 32×32",
        noise(32, 32, 32, 3, classes=10),
        models(PLAN),
        bar=0.9,
        steps=2,
        batches=2,
        space=2,
    )
]
