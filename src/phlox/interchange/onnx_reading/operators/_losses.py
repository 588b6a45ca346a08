"""Losses, as files of training graphs have them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant
from phlox.interchange.onnx_reading.operators._table import OPERATORS


@OPERATORS.on("NegativeLogLikelihoodLoss", since=12)
def _nll(call: Call, logs: Any, target: Any, weight: Any = None) -> Any:
    """Scores (batch, classes, …), classes (batch, …)."""
    logs, target = constant(logs), constant(target)
    ignored = call.get("ignore_index")
    alive = jnp.ones(target.shape, bool) if ignored is None else target != ignored
    safe = jnp.where(alive, target, 0)
    loss = -jnp.take_along_axis(logs, safe[:, None], 1)[:, 0]
    share = jnp.ones(loss.shape, logs.dtype) if weight is None else constant(weight)[safe]
    share = jnp.where(alive, share, np.zeros((), logs.dtype))
    loss = loss * share
    how = call.get("reduction", "mean")
    if how == "none":
        return loss
    return loss.sum() if how == "sum" else loss.sum() / share.sum()


@OPERATORS.on("SoftmaxCrossEntropyLoss", since=12)
def _cross_entropy(call: Call, scores: Any, target: Any, weight: Any = None) -> Any:
    logs = jax.nn.log_softmax(constant(scores), 1)
    return _nll(call, logs, target, weight), logs
