"""A small GPT: 4 layers of width 256 with 8 heads, 8×128 tokens of a vocabulary of 1000."""

from __future__ import annotations

from workloads._transformer import Plan, models
from workloads._workload import Workload, tokens

PLAN = Plan(256, 8, 4, 128, vocabulary=1000, causal=True, classes=1000)
WORKLOADS = [
    Workload(
        "gpt", "GPT d=256, 4 layers, 8×128 tokens", tokens(8, 128, vocabulary=1000), models(PLAN), bar=0.75, steps=4
    )
]
