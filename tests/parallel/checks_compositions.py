"""Three strategies at once: trainings of twenty steps against one device's."""

from __future__ import annotations

import functools
from typing import Any

import phlox as px
from parallel.checks_context import LEARN, texts
from parallel.checks_experts import decoder
from parallel.kit import assert_trains_alike
from parallel.networks import gpt

P = px.parallel


def check_context_data_tensor() -> None:
    strategy = P.context_parallel(2) * P.data_parallel(2) * P.tensor_parallel(2)
    assert_trains_alike(functools.partial(gpt, depth=1), texts(), strategy, **LEARN)


def check_expert_fsdp_tensor_with_capacity() -> None:
    _mixed(capacity=1.25)


def check_expert_fsdp_tensor() -> None:
    _mixed()


def _mixed(**options: Any) -> None:
    strategy = P.expert_parallel(2) * P.fsdp(2, whole=64) * P.tensor_parallel(2)
    (model,) = assert_trains_alike(functools.partial(decoder, **options), texts(), strategy, **LEARN)
    up = model.blocks.block.mlp.experts.up.weight
    assert tuple(up.sharding.spec) == (None, "expert", "fsdp", "tensor"), up.sharding
