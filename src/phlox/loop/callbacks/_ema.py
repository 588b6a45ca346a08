"""The exponential average of the weights, kept through training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from phlox.core import Module, RangeError, StructureError, paths, write_arrays
from phlox.loop.callbacks._averaged_model import AveragedModel
from phlox.loop.callbacks._callback import Callback

if TYPE_CHECKING:
    from phlox.loop._run import Run


class EMA(Callback):
    r"""Keeps an exponential average of the weights, $a \leftarrow d a + (1 - d) w$ after each step.

    The average is worked out within the compiled step. Validation looks at it, and training goes on from the weights
    themselves. ``ema.model`` is a copy of the model that holds it. State, such as statistics of BatchNorm, is that of
    the model. A second ``fit`` of the same model goes on with the average, unless there is NaN or infinity in it: a
    weight that was no number once stays in an average for good, and shows in validation.

    Arguments:
        decay: d in [0, 1): about the last 1 / (1 - d) steps count.
        warmup: use the smaller of d and (1 + n) / (10 + n) at step n, so that the first weights are soon forgotten.
        validate: whether validation looks at the average.
        write: whether the model holds the average when ``fit`` has ended; not after an exception.

    Raises:
        RangeError: a decay outside its range.
        StructureError: from ``model``, before training.

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; PyTorch's
        ``get_ema_multi_avg_fn``.

    >>> import phlox as px
    >>> ema = px.EMA(0.999, write=True)
    """

    modules: tuple[str, ...] = ("average",)
    decay: float
    warmup: bool
    validate: bool
    write: bool

    def __init__(self, decay: float = 0.999, *, warmup: bool = False, validate: bool = True, write: bool = False):
        if not 0 <= decay < 1:
            raise RangeError("decay in [0, 1)", got=repr(decay), fix="choose one such as 0.999", where="EMA")
        self.decay, self.warmup, self.validate, self.write = decay, warmup, validate, write
        self.average: AveragedModel | None = None
        self._trained: Module | None = None
        self._own: dict[str, Any] | None = None  # the model's weights, while it holds the average
        self._failed = False

    @property
    def model(self) -> Module:
        """A copy of the trained model that holds the average."""
        if self._trained is None or self.average is None:
            raise StructureError(
                "a model", got="none yet", fix="pass this callback to px.fit before", where="EMA.model"
            )
        return self.average.applied_to(self._trained)

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def on_fit_start(self, run: Run) -> None:
        if self.average is None or self._trained is not run.model or not _finite(self.average):
            self.average = AveragedModel(run.model, self.decay, warmup=self.warmup)
        self._trained, self._failed = run.model, False

    def after_update(self, model: Module, opt: Any) -> None:
        assert self.average is not None
        self.average.update(model)

    def on_validation_start(self, run: Run) -> None:
        if self.validate and self.average is not None:
            own = paths(run.model)
            self._own = {path: own[path] for path in self.average.weights}
            self.average.write_to(run.model)

    def on_validation_end(self, run: Run) -> None:
        if self._own is not None:
            write_arrays(run.model, self._own)
            self._own = None

    def on_exception(self, run: Run, error: BaseException) -> None:
        self._failed = True
        self.on_validation_end(run)

    def on_fit_end(self, run: Run) -> None:
        if self.write and not self._failed and self.average is not None:
            self.average.write_to(run.model)


def _finite(average: AveragedModel) -> bool:
    return all(bool(jnp.isfinite(v).all()) for v in average.weights.values())
