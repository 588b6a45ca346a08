"""BERT-base, the forward pass over 8×128 tokens."""

from __future__ import annotations

from workloads._transformer import Plan, models
from workloads._workload import Workload, tokens

PLAN = Plan(768, 12, 12, 128, vocabulary=30522, norm_first=False)
WORKLOADS = [
    Workload(
        "bert",
        "BERT-base inference, 8×128 tokens",
        tokens(8, 128, vocabulary=30522),
        models(PLAN),
        bar=1.0,
        steps=1,
        batches=1,
        infers=True,
    )
]
