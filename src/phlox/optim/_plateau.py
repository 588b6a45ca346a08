"""The learning rate lowered when a number stops improving."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, State, StructureError
from phlox.optim._optimizer import Optimizer


class ReduceOnPlateau(Module):
    """Multiplies an optimiser's learning rate by a factor when a number has not improved for some time.

    ``plateau.update(opt, loss)`` once an epoch, say; eager or in ``px.jit``, where nothing is traced anew. What it
    remembers is State, in its ``px.state_dict``.

    Arguments:
        factor: in (0, 1).
        patience: how many looks without an improvement are let pass.
        threshold: how much better counts: by |best| · threshold, or with ``absolute`` by threshold. PyTorch has best
            for |best|, so that no negative loss is ever worse than itself.
        absolute: as told there.
        cooldown: looks after a reduction in which nothing is counted.
        lowest: the least learning rate.
        eps: a change of the rate by no more than this is not made.
        maximize: a greater number is the better one.

    Raises:
        RangeError: a number outside its range.
        StructureError: from ``update``, an optimiser whose learning rate is no state.

    Source: PyTorch's ``ReduceLROnPlateau``.

    >>> import phlox as px
    >>> opt = px.Optimizer(px.optim.Descent(1.0), px.Dense(1, 1))
    >>> plateau = px.optim.ReduceOnPlateau(0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0, 2.0, 2.0):
    ...     plateau.update(opt, loss)
    >>> opt.learning_rate
    0.25
    """

    best: State  # () the best number so far
    bad: State  # () int32, looks since then
    cooling: State  # () int32, looks of cooldown left
    factor: float
    patience: int
    threshold: float
    absolute: bool
    cooldown: int
    lowest: float
    eps: float
    maximize: bool

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        *,
        threshold: float = 1e-4,
        absolute: bool = False,
        cooldown: int = 0,
        lowest: float = 0.0,
        eps: float = 1e-8,
        maximize: bool = False,
    ):
        if not 0 < factor < 1:
            raise RangeError(
                "factor in (0, 1)", got=repr(factor), fix="choose a factor below 1", where="ReduceOnPlateau"
            )
        self.factor, self.patience, self.threshold, self.absolute = factor, patience, threshold, absolute
        self.cooldown, self.lowest, self.eps, self.maximize = cooldown, lowest, eps, maximize
        self.best = jnp.asarray(-jnp.inf if maximize else jnp.inf, jax.dtypes.canonicalize_dtype(float))
        self.bad = jnp.zeros((), jnp.int32)
        self.cooling = jnp.zeros((), jnp.int32)

    def update(self, opt: Optimizer, value: Any) -> None:
        """Look at a number, and lower the rates of the optimiser if it is time."""
        slots = [n for n in opt.form.names if n.split("/")[-1] == "learning_rate"]
        if not slots:
            raise StructureError(
                "an optimiser whose learning rate is state",
                got=repr(opt.rule),
                fix="give its rule a number for a learning rate",
                where="ReduceOnPlateau.update",
            )
        value = jnp.asarray(value, self.best.dtype)
        better = self._better(value)
        self.best = jnp.where(better, value, self.best)
        bad = jnp.where(better, 0, self.bad + 1)
        was_cooling = self.cooling > 0
        cooling = jnp.where(was_cooling, self.cooling - 1, 0)
        bad = jnp.where(was_cooling, 0, bad)
        due = bad > self.patience
        self.cooling = jnp.where(due, self.cooldown, cooling).astype(jnp.int32)
        self.bad = jnp.where(due, 0, bad).astype(jnp.int32)
        for name in slots:
            rate = getattr(opt.slots, name)
            lower = jnp.maximum(rate * self.factor, self.lowest).astype(rate.dtype)
            setattr(opt.slots, name, jnp.where(due & (rate - lower > self.eps), lower, rate))

    def _better(self, value: jax.Array) -> jax.Array:
        sign = -1.0 if self.maximize else 1.0
        margin = self.threshold if self.absolute else jnp.abs(self.best) * self.threshold
        margin = jnp.where(jnp.isfinite(self.best), margin, 0.0)
        return sign * value < sign * self.best - margin
