"""ResNet-50, inference on images of 224×224, alone and 32 at a time."""

from __future__ import annotations

from workloads._residual import Block, Plan, Unit, models
from workloads._workload import Workload, noise


def _blocks() -> tuple[Block, ...]:
    """Bottlenecks of 1×1, 3×3 and 1×1, four times as wide at the end."""
    found, size = [], 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for i in range(depth):
            stride = 2 if stage and not i else 1
            found.append(Block((Unit(1, size, width), Unit(3, width, width, stride), Unit(1, width, 4 * width))))
            size = 4 * width
    return tuple(found)


PLAN = Plan(224, Unit(7, 3, 64, 2), True, _blocks(), 1000)
WORKLOADS = [
    Workload(
        f"resnet50-{batch}",
        f"ResNet-50 inference, batch {batch}",
        noise(batch, 224, 224, 3, classes=1000),
        models(PLAN),
        bar=0.9,
        steps=steps,
        batches=1,
        infers=True,
        space=2,
    )
    for batch, steps in ((1, 4), (32, 1))
]
