"""Statistics of BatchNorm worked out anew for weights that no forward pass has seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from phlox.core import Module, StructureError, copy, jit, modules, training
from phlox.nn import BatchNorm


def update_batch_norm(model: Module, data: Iterable[Any], forward: Callable[[Module, Any], Any] | None = None) -> None:
    """Set the running statistics of every BatchNorm to their mean over the batches of one pass over data.

    The model runs in training mode and nothing but these statistics changes: averaged weights need it, as theirs are
    those of other weights. A frozen BatchNorm keeps its statistics.

    Arguments:
        model: the model, changed in place.
        data: batches; of a tuple the first part is the input.
        forward: how to call the model, ``forward(model, batch)``, where batches are of another form.

    Raises:
        StructureError: no batch, or batches that are dicts, without ``forward``.

    Source: PyTorch's ``torch.optim.swa_utils.update_bn``.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.BatchNorm(1)
    >>> px.update_batch_norm(model, [jnp.array([[1.0], [3.0]]), jnp.array([[5.0], [7.0]])])
    >>> model.mean.tolist(), model.var.tolist()
    ([4.0], [2.0])
    """
    with training(True):
        norms = {p: m for p, m in modules(model).items() if isinstance(m, BatchNorm) and m.track and m.training}
    if not norms:
        return
    scratch = copy(model)
    parts = [modules(scratch)[path] for path in norms]
    for part in parts:
        part.momentum = 1.0  # the running statistics then are those of the last batch
    sums, count = None, 0
    for batch in data:
        new = _statistics(scratch, parts, forward or _call_on_first, batch)
        sums = new if sums is None else [(m + a, v + b) for (m, v), (a, b) in zip(sums, new, strict=True)]
        count += 1
    if sums is None:
        raise StructureError("at least one batch", got="none", fix="pass the training data", where="update_batch_norm")
    for norm, (mean, var) in zip(norms.values(), sums, strict=True):
        norm.mean, norm.var = mean / count, var / count


@jit
def _statistics(model: Module, norms: list[Any], forward: Callable[[Module, Any], Any], batch: Any) -> list[Any]:
    """The statistics of one batch, in the order of ``norms``, which are parts of the model."""
    with training(True):
        forward(model, batch)
    return [(norm.mean, norm.var) for norm in norms]


def _call_on_first(model: Module, batch: Any) -> Any:
    if isinstance(batch, dict):
        raise StructureError(
            "batches that are arrays or tuples",
            got=f"a dict of {', '.join(map(str, batch))}",
            fix='pass forward=lambda model, batch: model(batch["…"])',
            where="update_batch_norm",
        )
    return model(batch[0] if isinstance(batch, (tuple, list)) else batch)
