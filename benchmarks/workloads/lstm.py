"""An LSTM of 128 over 64 sequences of 50 steps with 64 features, then a dense layer on its last output."""

from __future__ import annotations

from workloads._recurrent import Plan, models
from workloads._workload import Workload, noise

PLAN = Plan(64, 128, 1, 50, 10)
WORKLOADS = [
    Workload(
        "lstm",
        "LSTM 128, 64×50×64",
        noise(64, 50, 64, classes=10),
        models(PLAN),
        bar=0.8,
        steps=8,
        surplus=PLAN.surplus,
    )
]
