"""Ending a training at the first loss or gradient that is no number, at the layer where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from phlox.core import NonFiniteError
from phlox.loop._train import nonfinite
from phlox.loop._whose import whose
from phlox.loop.batches._batch import alone
from phlox.loop.callbacks._callback import Callback
from phlox.loop.steps._precision import Refusal

if TYPE_CHECKING:
    from phlox.loop._run import Run


class StopOnNonFinite(Callback):
    """Ends training at the first batch whose loss or gradient is not finite, and names the layer it came from.

    From that batch on no step is taken, so the model and the optimiser are those of the batch before. It is found at
    the end of its chunk of steps, and looked at line by line on a copy of the model. Losses are waited for after every
    chunk, which costs little. In ``precision="fp16"`` an overflow of the scaled gradients is no failure; a loss that
    is not finite is. Of a ``step`` of your own, only the loss is looked at, when it has been taken. In a training of
    several processes the error names the process, the device and the machine whose rows brought it.

    Raises:
        NonFiniteError: while training; tells the epoch and the layer.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense.of(jnp.ones((1, 1)), None), jnp.log, px.Dense.of(jnp.ones((1, 1)), None))
    >>> batches = [(jnp.ones((1, 1)), jnp.zeros((1, 1))), (-jnp.ones((1, 1)), jnp.zeros((1, 1)))]
    >>> history = px.fit(model, batches, loss=px.losses.mse, optimizer=px.optim.Descent(0.1),
    ...                  callbacks=[px.StopOnNonFinite()], progress=False)
    Traceback (most recent call last):
    phlox.core.looking._watch.NonFiniteError: px.fit, epoch 1: model.layers[2] Dense(1 → 1) expects finite values, ...
    """

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def on_fit_start(self, run: Run) -> None:
        run.moving.setdefault("guard", Refusal())

    def on_step_end(self, run: Run) -> None:
        losses = np.asarray(run.losses)
        bad = np.flatnonzero(~np.isfinite(losses))
        if not bad.size:
            return
        where = f"px.fit, epoch {run.epoch + 1}"
        if run.objective is None:
            raise NonFiniteError(
                "finite values", got=f"a loss of {losses[bad[0]]} from your own step",
                fix="call the step within px.watch_nonfinite(), which names the layer", where=where, located=True,
            )  # fmt: skip
        if run.together.several:
            raise whose(run, where)
        of_a_step = len(run.batches) // len(losses)
        first = bad[0] * of_a_step
        batches = map(alone, run.batches[first : first + of_a_step])
        errors = [nonfinite(run.objective, run.model, b, where) for b in batches]
        raise next((error for error in errors if "model" in str(error.where)), errors[0])

    def steps_until(self, run: Run) -> int | None:
        return None
