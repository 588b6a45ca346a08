"""A step by hand, spread and on one device: what a training costs without all that ``px.fit`` compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import phlox as px
from parallel.kit import assert_same


def assert_learns_alike(build: Callable[[], Any], batch: Any, strategy: Any) -> Any:
    """The loss, its gradients and what a step draws, in float64, are those of one device; the model that is spread."""

    def step(model: Any, batch: Any) -> Any:
        return px.value_and_grad(lambda model: px.losses.cross_entropy(model(batch[0]), batch[1]))(model)

    one, many = px.f64(build()), px.f64(build())
    placement = px.parallel.shard(many, strategy)
    ours, slopes = placement.jit(step)(many, placement.spread(batch))
    theirs, grads = px.jit(step)(one, batch)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert_same(slopes, grads, 1e-11, repr(strategy))
    assert_same(many, one, 0.0, repr(strategy))
    return many
