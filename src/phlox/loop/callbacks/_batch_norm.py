"""Statistics of BatchNorm worked out anew for weights that no forward pass has seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from phlox.core import Module, copy, jit, modules, training
from phlox.loop.batches._one_pass import call_on_input, one_pass
from phlox.nn import BatchNorm


def update_batch_norm(
    model: Module, data: Any, forward: Callable[[Module, Any], Any] | None = None, *, batch_size: int = 32
) -> None:
    """Set the running statistics of every BatchNorm to their mean over the batches of one pass over data.

    The model runs in training mode and nothing but these statistics changes: averaged weights need it, as theirs are
    those of other weights. A frozen BatchNorm keeps its statistics.

    Arguments:
        model: the model, changed in place.
        data, batch_size: as for ``px.fit``; of a tuple the first part is the input. Order and padding do not matter.
        forward: how to call the model, ``forward(model, batch)``, where batches are of another form.

    Raises:
        ShapeError: no batch.
        StructureError: batches that are dicts, without ``forward``.

    Source: PyTorch's ``torch.optim.swa_utils.update_bn``.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.BatchNorm(1)
    >>> px.update_batch_norm(model, [jnp.array([[1.0], [3.0]]), jnp.array([[5.0], [7.0]])])
    >>> model.mean.tolist(), model.var.tolist()
    ([4.0], [2.0])
    """
    where = "update_batch_norm"
    with training(True):
        norms = {p: m for p, m in modules(model).items() if isinstance(m, BatchNorm) and m.track and m.training}
    if not norms:
        return
    scratch = copy(model)
    parts = [modules(scratch)[path] for path in norms]
    for part in parts:
        part.momentum = 1.0  # the running statistics then are those of the last batch
    sums: list[Any] | None = None
    count = 0
    for batch in one_pass(data, batch_size, where):
        new = _statistics(scratch, parts, forward or _call_on_input, batch)
        sums = new if sums is None else [(m + a, v + b) for (m, v), (a, b) in zip(sums, new, strict=True)]
        count += 1
    for norm, (mean, var) in zip(norms.values(), sums or [], strict=True):
        norm.mean, norm.var = mean / count, var / count
        if norm.count is not None:
            norm.count = jnp.asarray(count, norm.count.dtype)


@jit
def _statistics(model: Module, norms: list[Any], forward: Callable[[Module, Any], Any], batch: Any) -> list[Any]:
    """The statistics of one batch, in the order of ``norms``, which are parts of the model."""
    with training(True):
        forward(model, batch)
    return [(norm.mean, norm.var) for norm in norms]


def _call_on_input(model: Module, batch: Any) -> Any:
    return call_on_input(model, batch, "update_batch_norm")
