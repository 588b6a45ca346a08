"""px.find_learning_rate: the loss while the learning rate grows, and the rate that it suggests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phlox.core import Module, RangeError, copy, jit, value_and_grad
from phlox.loop.batches._feed import Feed
from phlox.loop.batches._loading import loader_of
from phlox.loop.logs._plot import plot_learning_rates
from phlox.loop.steps._objective import Objective, check_loss
from phlox.optim import Adam, Optimizer, Rule

_SMOOTHING = 0.8  # how much less each further step counts in a smoothed loss
_DIVERGED = 4.0  # times the lowest loss, running average of both


@dataclass(frozen=True)
class LearningRates:
    """What ``px.find_learning_rate`` found: a loss for each rate, up to where they diverged.

    Attributes:
        rates, losses, smoothed: (steps,) the rates, the loss at each, and its average over the steps around it.
        suggestion: the rate where the smoothed loss falls fastest; None where it does not fall.
    """

    rates: np.ndarray[Any, Any]
    losses: np.ndarray[Any, Any]
    smoothed: np.ndarray[Any, Any]
    suggestion: float | None

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw the losses over the rates, and write the figure to ``path`` where one is given."""
        return plot_learning_rates(self.rates, self.losses, self.smoothed, self.suggestion, path)

    def __repr__(self) -> str:
        found = "no rate: the loss does not fall" if self.suggestion is None else f"{self.suggestion:.2g}"
        span = f"{self.rates[0]:.2g} to {self.rates[-1]:.2g}"
        return f"LearningRates(suggestion={found}, {len(self.rates)} steps from {span})"


def find_learning_rate(
    model: Module,
    data: Any,
    *,
    loss: Callable[..., Any],
    rule: Rule | None = None,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 100,
    batch_size: int = 32,
    seed: int = 0,
) -> LearningRates:
    r"""Train a copy of a model for some steps while the learning rate grows, and look where the loss falls fastest.

    Step i has the rate $low (high / low)^{i / (steps - 1)}$. It ends early where the running average of the loss is not
    finite or four times its lowest. In a smoothed loss a step counts $0.8^d$ at a distance of d steps, before and
    behind, so that the curve does not lag. The model and its optimiser stay as they are.

    Arguments:
        model: the model, which is copied.
        data, loss, batch_size, seed: as for ``px.fit``.
        rule: of ``px.optim``, with a number for a learning rate, which is not used; Adam by default.
        low, high: the first and the last rate, 0 < low < high.
        steps: how many at most, at least 10; data is gone through again as often as needed.

    Returns:
        A ``LearningRates``: ``.suggestion``, ``.rates``, ``.losses``, ``.smoothed`` and ``.plot()``.

    Raises:
        RangeError: an argument outside its range.
        ShapeError: data without a batch.
        StructureError: a rule whose learning rate is a schedule.

    Source: Smith, "Cyclical learning rates for training neural networks", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> x = jnp.linspace(-1, 1, 64)[:, None]
    >>> found = px.find_learning_rate(px.Dense(1, 1), (x, 3 * x + 1), loss=px.losses.mse, steps=50)
    >>> 1e-3 < found.suggestion < 10
    True
    """
    where = "find_learning_rate"
    if not (0 < low < high and steps >= 10):
        raise RangeError(
            "rates 0 < low < high and at least 10 steps", got=f"low={low:g}, high={high:g}, steps={steps}",
            fix="leave the defaults", where=where,
        )  # fmt: skip
    check_loss(loss, where)
    scratch = copy(model)
    opt = Optimizer(Adam(low) if rule is None else rule, scratch)
    rates = low * (high / low) ** (np.arange(steps) / (steps - 1))
    batches = _again(Feed(loader_of(data, batch_size, seed, where=where), where=where))
    step = _step_of(Objective(loss, where=where))
    losses: list[float] = []
    average, lowest = 0.0, math.inf
    for n, (rate, batch) in enumerate(zip(rates, batches, strict=False)):
        opt.adjust(learning_rate=float(rate))
        now = float(step(scratch, opt, batch))
        average = _SMOOTHING * average + (1 - _SMOOTHING) * now
        running = average / (1 - _SMOOTHING ** (n + 1))
        if not math.isfinite(running) or running > _DIVERGED * lowest > 0:
            break
        losses.append(now)
        lowest = min(lowest, running)
    used, smoothed = rates[: len(losses)], _smoothed(np.array(losses))
    return LearningRates(used, np.array(losses), smoothed, steepest(used, smoothed))


def _smoothed(losses: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Each loss averaged with those around it."""
    at = np.arange(len(losses))
    weights = _SMOOTHING ** np.abs(at[:, None] - at)
    return weights @ losses / weights.sum(1)


def steepest(rates: np.ndarray[Any, Any], smoothed: np.ndarray[Any, Any]) -> float | None:
    """The rate, up to that of the lowest loss, where the loss falls fastest over the logarithm of the rate.

    >>> import numpy as np
    >>> rates = np.logspace(-4, 0, 41)
    >>> round(steepest(rates, 1 / (1 + rates / 0.01)), 6)  # a logistic curve in log(rate)
    0.01
    """
    last = int(np.argmin(smoothed)) + 1 if len(smoothed) else 0
    if last < 2:
        return None
    slopes = np.gradient(smoothed[:last], np.log(rates[:last]))
    return float(rates[int(np.argmin(slopes))])


def _step_of(objective: Objective) -> Callable[[Module, Optimizer, Any], Any]:
    @jit
    def step(model: Module, opt: Optimizer, batch: Any) -> Any:
        (loss, _), grads = value_and_grad(lambda model: objective(model, batch), has_aux=True)(model)
        opt.update(model, grads, value=loss)
        return loss

    return step


def _again(feed: Feed) -> Iterator[Any]:
    """Batches, epoch after epoch."""
    while True:
        yield from (fed.batch for fed in feed.epoch())
