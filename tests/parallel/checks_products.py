"""Compiled steps of products of strategies, with all of XLA's passes: what devices hold, and what goes between them."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import phlox as px
from parallel.checks_networks import mixture, sentences
from parallel.checks_program import held, moves
from parallel.networks import gpt

P = px.parallel
BATCH, TIME, WIDTH = 16, 16, 64
decoder = functools.partial(gpt, width=WIDTH, dropout=0.0)


def compiled(model: Any, strategy: Any) -> Any:
    """A model and its optimiser that are spread, and the step of training compiled for them."""
    placement = P.shard(model, strategy)
    opt = px.Optimizer(px.optim.Adam(1e-3), model)

    @placement.jit
    def step(model: Any, opt: Any, x: Any, y: Any) -> Any:
        loss, grads = px.value_and_grad(lambda model: px.losses.cross_entropy(model(x), y))(model)
        opt.update(model, grads)
        return loss

    batch = placement.spread(sentences(BATCH, TIME))
    return opt, batch, step.lower(model, opt, *batch).compile()


if __name__ == "__main__":
    for name, model, strategy in (
        ("fsdp*tensor", decoder(), P.fsdp(4) * P.tensor_parallel(2)),
        ("context*fsdp", decoder(), P.context_parallel(4) * P.fsdp(2)),
        ("pipeline*tensor", decoder(), P.pipeline(2, microbatches=2) * P.data_parallel(2) * P.tensor_parallel(2)),
        ("pipeline*context", decoder(), P.pipeline(2, microbatches=2) * P.context_parallel(4)),
        ("pipeline*expert", mixture(), P.pipeline(2, microbatches=2) * P.expert_parallel(4)),
        ("expert*tensor", mixture(), P.expert_parallel(4) * P.tensor_parallel(2)),
    ):
        opt, batch, program = compiled(model, strategy)
        print(
            "=====",
            name,
            held(model),
            held(opt),
            program.memory_analysis().argument_size_in_bytes,
            program.memory_analysis().temp_size_in_bytes,
        )
        for (kind, shapes), n in sorted(Counter(moves(program.as_text())).items()):
            print("   ", n, kind, shapes)
