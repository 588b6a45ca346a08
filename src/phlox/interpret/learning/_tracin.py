"""TracIn: which training examples lowered, or raised, the loss of others while a model learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from phlox.core import Module, RangeError, answering
from phlox.interpret.learning._examples import Examples, Loss, data_of

_WHERE = "px.interpret.tracin"


@answering
def tracin(
    checkpoints: Module | Sequence[Module],
    loss: Loss,
    train: Any,
    test: Any,
    *,
    learning_rates: float | Sequence[float] = 1.0,
    progress: bool | None = None,
) -> Any:
    r"""TracIn: $\sum_t η_t \, \nabla L(w_t, z) \cdot \nabla L(w_t, z')$, what steps on z did for z'.

    Shapes:
        train: a tuple of (n, …); test: a tuple of (m, …); influences: (m, n), positive for those that helped.

    Arguments:
        checkpoints: the model as it was at some steps of training. What is frozen in them is left out: freeze all but
            the last layer, and large models have room.
        loss: ``loss(model, *batch)``, the mean over a batch; the models infer.
        train, test: examples z and z'.
        learning_rates: η, of each checkpoint.
        progress: whether a bar is shown; None shows it in a terminal where it takes long.

    Raises:
        StructureError: what is no model.
        RangeError: no checkpoints, or another number of rates.
        ShapeError: leaves with different numbers of rows.

    Source: Pruthi et al., "Estimating training data influence by tracing gradient descent", 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> model, loss = px.Dense.of(jnp.ones((1, 1)), None), lambda m, x, y: px.losses.mse(m(x), y)
    >>> train, test = (jnp.array([[1.0], [2.0]]), jnp.array([[0.0], [3.0]])), (jnp.ones((1, 1)), jnp.zeros((1, 1)))
    >>> px.interpret.tracin(model, loss, train, test, learning_rates=0.5).tolist()
    [[2.0, -4.0]]
    """
    models = [checkpoints] if isinstance(checkpoints, Module) else list(checkpoints)
    rates = [learning_rates] * len(models) if isinstance(learning_rates, int | float) else list(learning_rates)
    if not models or len(rates) != len(models):
        fix = "give each checkpoint its rate"
        got = f"{len(models)} checkpoints, {len(rates)} rates"
        raise RangeError("checkpoints with a learning rate each", got=got, fix=fix, where=_WHERE)
    train, rows = data_of(train, _WHERE)
    test, _ = data_of(test, _WHERE)
    total: Any = 0.0
    for model, rate in zip(models, rates, strict=True):
        examples = Examples(model, loss, _WHERE)
        total = total + rate * np.asarray(examples.times(train, rows, examples.slopes(test), progress))
    return total
