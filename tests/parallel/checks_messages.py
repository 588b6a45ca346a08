"""Compiled steps as several processes take them, on eight devices of one: what is summed together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import phlox as px
from parallel.checks_program import moves, spread_step
from parallel.networks import images
from phlox.parallel import Placement, data_parallel, fsdp


@contextmanager
def slow() -> Iterator[None]:
    """Within the block sums cost messages, as between processes."""
    before = Placement.slow
    Placement.slow = property(lambda self: self.count > 1)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        Placement.slow = before  # pyright: ignore[reportAttributeAccessIssue]


def moved(model: Any, strategy: Any, loss_of: Any, *batch: Any) -> Any:
    """What goes between devices in a compiled step."""
    return moves(spread_step(model, strategy, loss_of, *batch)[-1].as_text())


def messages(model: Any, strategy: Any, loss_of: Any, *batch: Any) -> list[int]:
    """The sizes of the arrays that a compiled step adds up over devices."""
    found = moved(model, strategy, loss_of, *batch)
    assert {name for name, _ in found} == {"all-reduce"}, found
    return sorted(math.prod(shape) for _, shapes in found for shape in shapes)


def perceptron() -> px.Chain:
    with px.seed(0):
        return px.Chain(px.Dense(16, 64, px.gelu), px.LayerNorm(64), px.Dense(64, 64, px.gelu), px.Dense(64, 8))


def squares(model: Any, x: Any) -> Any:
    return (model(x) ** 2).mean()


def weights(model: Any) -> int:
    return sum(v.size for v in px.paths(model).values())


def check_a_step_sends_its_gradients_at_once() -> None:
    """Beside them the loss, which nothing needs before: one array, where there was one for each weight."""
    x = np.ones((32, 16), np.float32)
    before = messages(perceptron(), data_parallel(8), squares, x)
    with slow():
        after = messages(perceptron(), data_parallel(8), squares, x)
    assert len(before) == len(px.paths(perceptron())) + 1, before
    assert after == [weights(perceptron()) + 1], after


def check_weights_in_parts_are_as_ever() -> None:
    """Their gradients go to who has the part."""
    x, strategy = np.ones((32, 16), np.float32), data_parallel(2) * fsdp(4)
    before = moved(perceptron(), strategy, squares, x)
    with slow():
        assert moved(perceptron(), strategy, squares, x) == before
    assert "all-gather" in dict(before), before


def check_kernels_and_losses_with_weights_send_two() -> None:
    """The sum of the examples' weights is needed for the first gradient; it goes with the loss."""
    with px.seed(1):
        model = px.Chain(px.Conv((3, 3), 2, 16, px.relu), px.MaxPool((3, 3), stride=1), px.flatten, px.Dense(64, 3))
    x, y = images(16)
    with slow():
        found = messages(
            model, data_parallel(8), lambda m, x, y: px.losses.cross_entropy(m(x), y), x.astype("float32"), y
        )
    assert found == [2, weights(model)], found


def check_large_gradients_are_not_copied() -> None:
    with px.seed(0):
        model = px.Chain(px.Dense(16, 1100), px.Dense(1100, 1100), px.Dense(1100, 2))
    with slow():
        found = messages(model, data_parallel(8), squares, np.ones((32, 16), np.float32))
    assert found == [weights(model) - 1100 * 1100 + 1, 1100 * 1100], found
