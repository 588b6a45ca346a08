"""px.compress.report: what a smaller model saves, and what it lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from phlox.compress._asking import answer
from phlox.compress._layers import check_model
from phlox.compress.calibration._watching import Forward, batches_of, forward_of
from phlox.compress.reporting._changes import Changes, changes_of
from phlox.compress.reporting._latency import Race, of_size, race
from phlox.compress.reporting._report import Example, Report, Side
from phlox.compress.reporting._sizes import disk_of, flops_of, memory_of, numbers_of
from phlox.core import Module, RangeError, answering, training
from phlox.loop import evaluate

_WHERE = "px.compress.report"


@answering
def report(
    model: Module,
    smaller: Module,
    data: Any,
    *,
    metrics: Any = None,
    loss: Any = None,
    forward: Forward | None = None,
    latency: Sequence[int] = (1, 32),
    seconds: float = 2.0,
    examples: int = 10,
    batch_size: int = 32,
) -> Report:
    r"""What a smaller model saves, and what it lost: both beside each other, on the same data and in inference.

    Numbers, bytes in memory and on disk, floating-point operations and the time of a call; metrics of both; how far
    each layer's and each example's result moved, $\|y' - y\| / \|y\|$; and the examples that changed most.

    Arguments:
        model, smaller: before and after, whatever was done between; they stay as they are.
        data: as of ``px.evaluate``; all batches are held while it runs. Where targets are integers, one for each place
            that the model scores classes of, examples whose class changed come first.
        metrics, loss: as of ``px.evaluate``, which is asked for both models; of language models
            ``px.metrics.Perplexity(logits=True)``, with the next tokens as targets.
        forward: how a model is called, ``forward(model, batch)``, where that is not on the first part of a batch;
            metrics call it on that anyway.
        latency: numbers of examples in the calls that are timed; () times nothing. Data that has fewer is repeated.
        seconds: how long about to time each of them, in turns: 5 to 50 rounds.
        examples: how many of those that changed most to tell.
        batch_size: examples in a batch, for data that comes without batches.

    Returns:
        A ``Report``: printed, tables; ``.plot()`` draws it, ``.as_dict()`` and ``.save(path)`` give it as JSON.

    Raises:
        RangeError: no data, a number outside its range.
        StructureError: what is no model, or two that give results of other forms.

    >>> import jax, phlox as px
    >>> model = px.Chain(px.Dense(64, 64, px.relu, key=0), px.Dense(64, 4, key=1))
    >>> x, y = jax.random.normal(jax.random.key(2), (32, 64)), jax.numpy.arange(32) % 4
    >>> found = px.compress.report(
    ...     model, px.compress.quantize(model), (x, y), metrics=px.metrics.Accuracy(), latency=())
    >>> found.before.parameters == found.after.parameters, found.after.memory < 0.3 * found.before.memory
    (True, True)
    >>> list(found.layers), found.after.scores["accuracy"] == found.before.scores["accuracy"]
    (['layers.0', 'layers.1', ''], True)
    """
    check_model(model, _WHERE)
    check_model(smaller, _WHERE)
    _check_numbers(latency, seconds, examples)
    batches, forward = batches_of(data, batch_size, _WHERE), forward_of(forward, _WHERE)
    with training(False):
        changes = changes_of(model, smaller, forward, batches, _WHERE)
        races = {n: _raced(model, smaller, forward, of_size(batches[0], n), seconds) for n in latency}
        measured = [_measured(m, forward, batches) for m in (model, smaller)]
    scored = [_scores(m, batches, metrics, loss, batch_size) for m in (model, smaller)]
    before, after = (
        replace(side, scores=scores, latency={n: one[which] for n, one in races.items()})
        for which, ((side, _), scores) in enumerate(zip(measured, scored, strict=True))
    )
    return Report(
        name=type(model).__name__,
        before=before,
        after=after,
        faster={n: one.faster for n, one in races.items()},
        layers=changes.layers,
        changes=changes.examples,
        flips=changes.flipped,
        flipped=changes.share_flipped,
        worst=_worst(changes, examples),
        notes=tuple(dict.fromkeys([*_notes(changes, races), *(note for _, note in measured if note)])),
    )


def _check_numbers(latency: Any, seconds: Any, examples: Any) -> None:
    whole = lambda n: isinstance(n, int) and not isinstance(n, bool) and n > 0  # noqa: E731
    if not isinstance(latency, Sequence) or isinstance(latency, str) or not all(map(whole, latency)):
        fix = "pass latency=(1, 32), or () to time nothing"
        raise RangeError("numbers of examples for latency", got=repr(latency)[:100], fix=fix, where=_WHERE)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        fix = "a second or two is enough"
        raise RangeError("seconds above 0", got=repr(seconds)[:100], fix=fix, where=_WHERE)
    if not whole(examples):
        fix = "examples=10 tells the ten that changed most"
        raise RangeError("a number of examples of 1 or more", got=repr(examples)[:100], fix=fix, where=_WHERE)


def _measured(model: Module, forward: Forward, batches: Sequence[Any]) -> tuple[Side, str]:
    (numbers, nonzero), (disk, note) = numbers_of(model), disk_of(model)
    flops = flops_of(model, forward, of_size(batches[0], 1))
    return Side(numbers, nonzero, memory_of(model), disk, flops), note


def _raced(model: Module, smaller: Module, forward: Forward, batch: Any, seconds: float) -> Race:
    def ask(model: Module) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(answer(model, forward, batch))

    return race(ask(model), ask(smaller), seconds)


def _scores(model: Module, batches: Sequence[Any], metrics: Any, loss: Any, batch_size: int) -> dict[str, Any]:
    if metrics is None and loss is None:
        return {}
    return evaluate(model, list(batches), metrics=metrics, loss=loss, batch_size=batch_size)


def _worst(changes: Changes, count: int) -> tuple[Example, ...]:
    """The examples whose class changed, then those whose answer moved most; NaN is the farthest."""
    moved = np.nan_to_num(changes.examples, nan=np.inf, posinf=np.inf)
    flipped = np.zeros(len(moved)) if changes.flipped is None else changes.flipped
    order = np.lexsort((-moved, -flipped))[:count]
    return tuple(_example(changes, int(i)) for i in order)


def _example(changes: Changes, i: int) -> Example:
    change = float(changes.examples[i])
    if changes.answers is None:
        return Example(i, change)
    told = [int(a[i, 0]) for a in changes.answers] if changes.answers.before.shape[1] == 1 else [None] * 3
    return Example(i, change, float(changes.flipped[i]), *told)


def _notes(changes: Changes, races: dict[int, Race]) -> list[str]:
    notes = []
    if changes.left_out:
        notes.append(f"{changes.left_out} parts of the model have no like in the smaller one, and are not compared")
    busy = [n for n, one in races.items() if one.first.noisy or one.second.noisy]
    if busy:
        differed = f"calls of {' and '.join(map(str, busy))} differed by more than a quarter"
        notes.append(f"the machine was busy: {differed}; run it again when it is quiet")
    return notes
