"""The learning rate lowered, within ``px.fit``, when a number stops improving."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import jax.numpy as jnp

from phlox import optim
from phlox.loop.callbacks._callback import Callback
from phlox.loop.callbacks._monitor import Monitor

if TYPE_CHECKING:
    from phlox.loop._run import Run


class ReduceOnPlateau(Callback):
    """Multiplies the learning rate by a factor when a number has not improved for some epochs.

    It is ``px.optim.ReduceOnPlateau``, which loops by hand use, fed with a logged number at the end of each epoch, and
    behind each validation inside one. The rate that follows is logged as ``learning_rate``. NaN and infinity are no
    improvement.

    Arguments:
        monitor: the name of the number in ``run.logs``.
        factor: in (0, 1).
        mode: ``"min"`` or ``"max"``; ``"auto"`` tells it from the name.
        options: those of ``px.optim.ReduceOnPlateau``: ``patience``, ``threshold``, ``absolute``, ``cooldown``,
            ``lowest``, ``eps``.

    Raises:
        RangeError: an argument outside its range.
        StructureError: where nothing of this name is logged: before training as far as that is known, else at the
            end of the first epoch; and where the optimiser's learning rate is a schedule.

    Source: PyTorch's ``ReduceLROnPlateau``.

    >>> import phlox as px
    >>> px.ReduceOnPlateau("val_loss", 0.5, patience=2).state()
    {'best': None, 'bad': 0, 'cooling': 0}
    """

    order: ClassVar[int] = 10  # behind those that log
    monitor: Monitor
    plateau: optim.ReduceOnPlateau

    def __init__(self, monitor: str = "val_loss", factor: float = 0.1, *, mode: str = "auto", **options: Any):
        self.monitor = Monitor(monitor, mode, 0.0, "ReduceOnPlateau")
        self.plateau = optim.ReduceOnPlateau(factor, maximize=self.monitor.mode == "max", **options)

    def logged_names(self) -> tuple[str, ...]:
        return ("learning_rate",)

    def check_run(self, run: Run) -> None:
        self.monitor.check(run)

    def on_validation_logged(self, run: Run) -> None:
        self.on_epoch_end(run)

    def on_epoch_end(self, run: Run) -> None:
        value = self.monitor.read(run)
        if value is not None and run.opt is not None:
            self.plateau.update(run.opt, value if math.isfinite(value) else float("nan"))
            run.log("learning_rate", run.opt.learning_rate)

    def state(self) -> dict[str, Any]:
        best = float(self.plateau.best)
        unset = best in (float("inf"), float("-inf"))
        return {
            "best": None if unset else best,
            "bad": int(self.plateau.bad),
            "cooling": int(self.plateau.cooling),
        }

    def restore(self, state: dict[str, Any]) -> None:
        if state["best"] is not None:
            self.plateau.best = jnp.asarray(state["best"], self.plateau.best.dtype)
        self.plateau.bad = jnp.asarray(state["bad"], jnp.int32)
        self.plateau.cooling = jnp.asarray(state["cooling"], jnp.int32)
