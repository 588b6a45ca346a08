"""The equal average of the weights of the last epochs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from phlox.core import Module, RangeError, StructureError
from phlox.loop.callbacks._averaged_model import AveragedModel
from phlox.loop.callbacks._batch_norm import update_batch_norm
from phlox.loop.callbacks._callback import Callback
from phlox.loop.callbacks._rescheduled import rescheduled, updates_done

if TYPE_CHECKING:
    from phlox.loop._run import Run


class SWA(Callback):
    r"""Averages the weights at the ends of the last epochs, all alike, and gives the model the average at the end.

    From epoch ``start`` on, the learning rate goes to ``learning_rate`` in ``anneal`` epochs along half a cosine and
    stays there; a schedule does so too, and is as it was when ``fit`` has ended. When ``fit`` ends, the model takes the
    average, and the statistics of every BatchNorm are worked out anew in one pass over the training data. After an
    exception the model stays as it is.

    Arguments:
        start: the first epoch that counts, from 0; or a float in (0, 1), that share of the epochs.
        learning_rate: the rate of the averaged epochs, above 0; None leaves it alone.
        anneal: over how many epochs it is reached, at least 0.
        batch_norm: whether the statistics of BatchNorm are worked out anew.
        forward: how to call the model on a batch for them, where batches are neither arrays nor tuples.

    Raises:
        RangeError: an argument outside its range.
        StructureError: when training starts, where the rate is a schedule and nobody knows how many steps an epoch has;
            at the start of an epoch, where the optimiser has no learning rate as state.

    Source: Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018; PyTorch's
        ``SWALR`` and ``update_bn``.

    >>> import phlox as px
    >>> swa = px.SWA(start=0.75, learning_rate=0.05)
    """

    modules: tuple[str, ...] = ("average",)
    start: float
    learning_rate: float | None
    anneal: int
    batch_norm: bool
    forward: Callable[[Module, Any], Any] | None

    def __init__(
        self,
        start: int | float = 0.75,
        learning_rate: float | None = None,
        *,
        anneal: int = 10,
        batch_norm: bool = True,
        forward: Callable[[Module, Any], Any] | None = None,
    ):
        if not (0 < start < 1 if isinstance(start, float) else start >= 0):
            _refuse("start, an epoch from 0 or a share in (0, 1)", start, "give an epoch, or a share such as 0.75")
        if learning_rate is not None and not learning_rate > 0:
            _refuse("learning_rate above 0", learning_rate, "give a rate, or None to leave it alone")
        if not anneal >= 0:
            _refuse("anneal of at least 0", anneal, "give a number of epochs")
        self.start, self.learning_rate, self.anneal = start, learning_rate, anneal
        self.batch_norm, self.forward = batch_norm, forward
        self.average: AveragedModel | None = None
        self._base: float | None = None  # the rate that annealing starts from
        self._first = 0  # the first epoch that counts
        self._failed = False
        self._scheduled: Any = None  # the optimiser's rule, while its schedule is wrapped
        self._updates = 0  # that the schedule had counted before this training

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def on_fit_start(self, run: Run) -> None:
        if isinstance(self.start, float) and run.epochs is None:
            _refuse("an epoch as start, where nobody knows how many there are", self.start, "give a whole number")
        self._first = int(self.start * (run.epochs or 0)) if isinstance(self.start, float) else self.start
        self._failed, self._base, self.average = False, None, AveragedModel(run.model)
        self._wrap_schedule(run)

    def _wrap_schedule(self, run: Run) -> None:
        """Where the learning rate is a schedule of the step, have one that ends as this asks for."""
        self._scheduled = None
        if self.learning_rate is None or run.opt is None:
            return
        rule = rescheduled(run.opt.rule, lambda schedule: lambda step: self._rate(run, schedule, step))
        if rule is run.opt.rule:
            return
        if run.steps_per_epoch is None:
            raise StructureError(
                "data that knows how many batches it has, to anneal a schedule by epochs", got="data without a length",
                fix="give SWA no learning_rate, and let the schedule end as you want it", where="SWA",
            )  # fmt: skip
        self._scheduled, run.opt.rule, self._updates = run.opt.rule, rule, updates_done(run.opt)

    def _rate(self, run: Run, schedule: Any, step: Any) -> Any:
        """The rate at a step: the schedule's, then along half a cosine from where that was."""
        assert run.steps_per_epoch is not None
        assert self.learning_rate is not None
        start = self._updates + self._first * run.steps_per_epoch
        since = (step - start) // run.steps_per_epoch
        done = jnp.clip(since / self.anneal, 0.0, 1.0) if self.anneal else 1.0
        share = (1 - jnp.cos(jnp.pi * done)) / 2
        return jnp.where(since < 0, schedule(step), share * self.learning_rate + (1 - share) * schedule(start))

    def on_epoch_start(self, run: Run) -> None:
        since = run.epoch - self._first
        if self.learning_rate is None or since < 0 or run.opt is None or self._scheduled is not None:
            return
        if self._base is None:
            self._base = run.opt.learning_rate
        done = min(1.0, since / self.anneal) if self.anneal else 1.0
        share = (1 - math.cos(math.pi * done)) / 2
        run.opt.adjust(learning_rate=share * self.learning_rate + (1 - share) * self._base)

    def on_epoch_end(self, run: Run) -> None:
        if run.epoch >= self._first and self.average is not None:
            self.average.update(run.model)

    def on_exception(self, run: Run, error: BaseException) -> None:
        self._failed = True

    def on_fit_end(self, run: Run) -> None:
        if self._scheduled is not None and run.opt is not None:
            run.opt.rule, self._scheduled = self._scheduled, None
        if self._failed or self.average is None or not int(self.average.count):
            return
        self.average.write_to(run.model)
        if self.batch_norm:
            update_batch_norm(run.model, run.loader, self.forward)

    def state(self) -> dict[str, Any]:
        return {"base": self._base, "updates": self._updates}

    def restore(self, state: dict[str, Any]) -> None:
        self._base, self._updates = state["base"], state.get("updates", 0)


def _refuse(expected: str, got: Any, fix: str) -> None:
    raise RangeError(expected, got=repr(got), fix=fix, where="SWA")
