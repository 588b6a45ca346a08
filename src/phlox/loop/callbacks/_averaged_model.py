"""A running average of a model's weights, exponential or equal."""

from __future__ import annotations

from typing import Any, TypeVar

import jax.numpy as jnp

from phlox.core import Module, RangeError, State, copy, paths, thaw, trainable_arrays, write_arrays

M = TypeVar("M", bound=Module)


class AveragedModel(Module):
    r"""A running average of a model's weights, held beside it; for loops by hand, and inside EMA and SWA.

    With ``decay`` d the average moves by $a \leftarrow d a + (1 - d) w$, without it every update counts alike,
    $a \leftarrow a + (w - a) / (n + 1)$. The first update copies. Averages are kept in float32 at least, so that small
    moves of 16-bit weights are not lost. Parameters are averaged, frozen ones too; State, such as statistics of
    BatchNorm, is not.

    Arguments:
        model: the model to average; only its paths, shapes and dtypes are kept.
        decay: d in [0, 1), or None.
        warmup: use $\min(d, (1 + n) / (10 + n))$ at update n, so that the first weights are soon forgotten.

    Raises:
        RangeError: a decay outside its range, or a warm-up without one.

    Source: PyTorch's ``torch.optim.swa_utils.AveragedModel``.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Dense.of(jnp.ones((1, 1)), None)
    >>> average = px.AveragedModel(model)
    >>> for weight in (1.0, 2.0, 6.0):
    ...     model.weight = jnp.full((1, 1), weight)
    ...     average.update(model)
    >>> average.applied_to(model).weight.tolist()
    [[3.0]]
    """

    _default_role = "State"
    weights: dict[str, Any]  # by path: the averages, float32 or wider
    count: State  # () int32, updates so far
    decay: float | None
    warmup: bool

    def __init__(self, model: Module, decay: float | None = None, *, warmup: bool = False):
        if (decay is None and warmup) or not (decay is None or 0 <= decay < 1):
            raise RangeError(
                "decay in [0, 1)", got=repr(decay), fix="choose a decay below 1, such as 0.999", where="AveragedModel"
            )
        self.decay, self.warmup = decay, warmup
        params = trainable_arrays(thaw(copy(model)))
        self.weights = {path: jnp.zeros_like(v, jnp.promote_types(v.dtype, jnp.float32)) for path, v in params.items()}
        self.count = jnp.zeros((), jnp.int32)

    def update(self, model: Module) -> None:
        """Take the weights of a model in; eager or in ``px.jit``."""
        arrays = paths(model)
        share = self._share()
        self.weights = {
            path: (1 - share) * a + share * arrays[path].astype(a.dtype) for path, a in self.weights.items()
        }
        self.count = self.count + 1

    def _share(self) -> Any:
        """How much of the average the next weights make; all of it at first."""
        n = self.count.astype(jnp.float32)
        if self.decay is None:
            return 1 / (n + 1)
        decay = jnp.minimum(self.decay, (1 + n) / (10 + n)) if self.warmup else self.decay
        return jnp.where(self.count == 0, 1.0, 1.0 - decay)

    def write_to(self, model: Module) -> None:
        """Give a model the average, each array in the dtype that it has there; before an update, nothing changes."""
        if int(self.count):
            own = paths(model)
            write_arrays(model, {path: v.astype(own[path].dtype) for path, v in self.weights.items()})

    def applied_to(self, model: M) -> M:
        """A copy of a model that holds the average."""
        averaged = copy(model)
        self.write_to(averaged)
        return averaged

    def __repr__(self) -> str:
        return f"AveragedModel({len(self.weights)} arrays, decay={self.decay})"
