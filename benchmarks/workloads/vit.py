"""ViT-S with patches of 16, inference on images of 224×224, alone and 32 at a time."""

from __future__ import annotations

from workloads._transformer import Plan, models
from workloads._workload import Workload, noise

PLAN = Plan(384, 6, 12, 196, pooled=True, classes=1000)
WORKLOADS = [
    Workload(
        f"vit-{batch}",
        f"ViT-S/16 inference, batch {batch}",
        noise(batch, 224, 224, 3, classes=1000),
        models(PLAN),
        bar=1.0,
        steps=steps,
        batches=1,
        infers=True,
        space=2,
    )
    for batch, steps in ((1, 4), (32, 1))
]
