"""memory="auto" over eight devices: a batch in parts that devices share evenly, with the numbers of one device."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import phlox as px
from parallel.checks_networks import mixture, sentences
from parallel.checks_program import moves
from parallel.kit import assert_same, refused, trained
from parallel.networks import gpt, points
from parallel.room import room
from phlox.loop.preflight._fit import _Fitting, why_not_in_parts
from phlox.loop.preflight._saving import Saving
from phlox.loop.steps._objective import Objective
from phlox.loop.steps._step import Step, spread

P = px.parallel
ROWS = 2048
CLASSES = {"loss": px.losses.cross_entropy, "precision": "float64", "batch_size": ROWS, "steps": 6}


def plain() -> px.Chain:
    """No draws and no statistics, which a part of a batch would move by itself."""
    with px.seed(0):
        return px.Chain(px.Dense(12, 48, px.tanh), px.Dense(48, 48, px.tanh), px.Dense(48, 3))


def _assert_split(build: Callable[[], Any], data: Any, strategy: Any, share: float, **options: Any) -> None:
    """With less room the batch is split, and the numbers are those of one device that has room for all of it."""
    one, first = trained(build, data, **options)
    with room(share) as seen:
        many, second = trained(build, data, strategy, **options)
    placement = P.Placement.of(strategy)
    (saving,) = seen
    assert saving.rows is not None, f"not split: {saving}"
    assert saving.rows % placement.rows == 0, saving
    np.testing.assert_allclose(second.losses, first.losses, rtol=1e-9)
    assert_same(many, one, 1e-9, repr(strategy))


def check_fsdp_in_parts_with_metrics() -> None:
    """The second batch is not full; accuracy is that of all examples."""
    options: dict[str, Any] = {**CLASSES, "steps": None, "epochs": 3, "metrics": {"accuracy": px.metrics.Accuracy()}}
    data = points(ROWS + 808)
    one, first = trained(plain, data, **options)
    with room(0.7) as seen:
        many, second = trained(plain, data, P.fsdp(), **options)
    assert seen[0].rows in (ROWS // 2, ROWS // 4), seen
    np.testing.assert_allclose(second["loss"], first["loss"], rtol=1e-9)
    np.testing.assert_allclose(second["accuracy"], first["accuracy"], rtol=1e-6)
    assert_same(many, one, 1e-9)


def check_products_in_parts() -> None:
    _assert_split(plain, points(ROWS), P.data_parallel(4) * P.tensor_parallel(2), 0.85, **CLASSES)
    texts = {**CLASSES, "batch_size": 64}
    build = functools.partial(gpt, dropout=0.0, depth=1)
    _assert_split(build, sentences(64), P.context_parallel(4) * P.fsdp(2), 0.85, **texts)
    _assert_split(mixture, sentences(64), P.expert_parallel(4) * P.data_parallel(2), 0.85, **texts)


def _step(strategy: Any, **options: Any) -> Step:
    return Step(Objective(px.losses.cross_entropy), placement=P.Placement.of(strategy), **options)


def _given(strategy: Any, count: int = ROWS) -> tuple[Any, Any]:
    """A model and a batch that are spread."""
    model = px.f64(plain())
    placement = P.shard(model, strategy)
    return model, placement.spread(points(count))


def _backward(step: Step) -> Any:
    """Loss, predictions, targets and gradients of a batch, as a program."""

    def run(model: Any, batch: Any) -> Any:
        with spread(step.placement, batch):
            loss, report, grads = step.backward(model, {"metrics": px.metrics.Accuracy()}, batch)
        return loss, report.prediction, report.target, grads

    return px.jit(run)


def check_no_row_moves_to_be_in_a_part() -> None:
    """Beside sums of gradients nothing is sent, predictions for metrics neither; the numbers are one device's.

    Seen in the partitioner's work as it is, which the passes behind it do not undo.
    """
    step = _step(P.data_parallel(), saving=Saving(ROWS // 4))
    model, batch = _given(P.data_parallel())
    run = _backward(step)
    found = moves(run.lower(model, batch).compile().as_text())
    assert {name for name, _ in found} == {"all-reduce"}, found
    assert max(math.prod(shape) for _, shapes in found for shape in shapes) <= 48 * 48, found
    loss, predictions, targets, grads = run(model, batch)
    wanted, answers, classes, slopes = _backward(Step(Objective(px.losses.cross_entropy)))(
        px.f64(plain()), points(ROWS)
    )
    np.testing.assert_array_equal(targets, classes)
    np.testing.assert_allclose(predictions, answers, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(loss, wanted, rtol=1e-12)
    assert_same(grads, slopes, 1e-12)
    whole = _Fitting(_step(P.data_parallel()), 1, (model, px.Optimizer(px.optim.Descent(0.1), model), {}), batch, None)
    parts = _Fitting(step, 1, (model, px.Optimizer(px.optim.Descent(0.1), model), {}), batch, None)
    assert parts.found.activations < 0.3 * whole.found.activations, (parts.found, whole.found)


def check_weights_move_to_parts_of_a_batch() -> None:
    """Under fsdp weights are gathered for each part, and no activation is sent, as for a whole batch."""
    model, strategy = gpt(depth=1, dropout=0.0), P.fsdp(whole=64)
    placement = P.shard(model, strategy)
    step, batch = _step(strategy, saving=Saving(16)), placement.spread(sentences(64))
    found = moves(_backward(step).lower(model, batch).compile().as_text())
    largest = max(v.size for v in px.paths(model).values())
    assert largest < 16 * 16 * 32, "which is an activation"
    assert max(math.prod(shape) for _, shapes in found for shape in shapes) <= largest, found
    assert sum(name == "all-gather" for name, _ in found) >= 12, "six products of a block, forward and backward"


def check_steps_in_one_call_are_measured_as_devices_hold_them() -> None:
    """Three more batches in a call take a device three times its part of one."""
    model, batch = _given(P.data_parallel())
    state = (model, px.Optimizer(px.optim.Descent(0.1), model), {})
    one, four = (_Fitting(_step(P.data_parallel()), n, state, batch, None).found.inputs for n in (1, 4))
    part = sum(v.addressable_shards[0].data.nbytes for v in jax.tree.leaves(batch))
    assert 3 * part <= four - one <= 3 * part + 64, (one, four, part)


def check_what_is_not_split() -> None:
    model, batch = _given(P.data_parallel(), 8)
    told = why_not_in_parts(_step(P.data_parallel()), model, {}, batch)
    assert told == "there is one example for each device", told
    told = why_not_in_parts(_step(P.pipeline(2) * P.data_parallel(4)), model, {}, batch)
    assert told.startswith("a pipeline cuts the batch into micro-batches already"), told


def check_a_pipeline_that_does_not_fit_is_refused() -> None:
    with px.seed(0):
        deep = px.Chain(px.RepeatedLayer(lambda: px.Dense(12, 12, px.tanh), 4), px.Dense(12, 3))
    with room(0.01), refused(px.NotEnoughMemoryError, "a pipeline cuts the batch into micro-batches already"):
        trained(lambda: deep, points(64), P.pipeline(2), **{**CLASSES, "batch_size": 64})
