"""A language model of two LSTMs of 256: 32×64 tokens of a vocabulary of 1000."""

from __future__ import annotations

from workloads._recurrent import Plan, models
from workloads._workload import Workload, tokens

PLAN = Plan(128, 256, 2, 64, 1000, vocabulary=1000)
WORKLOADS = [
    Workload(
        "language",
        "LSTM language model, 2×256, 32×64 tokens",
        tokens(32, 64, vocabulary=1000),
        models(PLAN),
        bar=1.0,
        steps=4,
        surplus=PLAN.surplus,
    )
]
