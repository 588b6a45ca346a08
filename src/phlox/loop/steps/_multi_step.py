"""px.multi_step: several steps of the user's own in one dispatch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import jax

from phlox.core import Module, RangeError, ShapeError, describe, jit, scan
from phlox.loop._interruption import uninterrupted
from phlox.optim import Optimizer

P = ParamSpec("P")
R = TypeVar("R")


def multi_step(step: Callable[P, R], n: int) -> Callable[P, R]:
    """Make a function that takes n training steps in one compiled call.

    For small models most of a step is the way into and out of the compiled program; this pays it once for n. The
    weights are those that n single steps give. On a CPU leave convolutions out of it: XLA computes them far more slowly
    in a loop, and ``px.fit`` avoids that by itself.

    Shapes:
        each array of a batch: (n, batch, ...), a leading axis of steps; results: (n, ...).

    Arguments:
        step: ``step(model, opt, *batch)``, as for ``px.jit``; it changes both in place and returns what it likes.
        n: steps in a call, at least 1.

    Raises:
        RangeError: an n below 1. ShapeError: from the call, arrays without a leading axis of n.

    >>> import jax.numpy as jnp, phlox as px
    >>> def step(model, opt, x, y):
    ...     loss, grads = px.value_and_grad(lambda model: px.losses.mse(model(x), y))(model)
    ...     opt.update(model, grads)
    ...     return loss
    >>> model = px.Dense.of(jnp.zeros((1, 1)), None)
    >>> opt = px.Optimizer(px.optim.Descent(0.25), model)
    >>> four = px.multi_step(step, 4)
    >>> four(model, opt, jnp.ones((4, 1, 1)), jnp.ones((4, 1, 1))).tolist()
    [1.0, 0.25, 0.0625, 0.015625]
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise RangeError("n of at least 1", got=repr(n), fix="give a whole number of steps", where="px.multi_step")

    def steps(model: Module, opt: Optimizer, *batch: Any) -> Any:
        def one(carry: Any, slice: Any) -> tuple[Any, Any]:
            return carry, cast("Callable[..., Any]", step)(*carry, *slice)

        return scan(one, (model, opt), batch)[1]

    compiled = jit(functools.update_wrapper(steps, step))

    @functools.wraps(step)
    def checked(model: Module, opt: Optimizer, *batch: Any) -> Any:
        for leaf in jax.tree.leaves(batch):
            if getattr(leaf, "shape", ())[:1] != (n,):
                fix = "stack the batches of the steps, for example with np.stack"
                raise ShapeError(f"arrays ({n}, batch, ...)", got=describe(leaf), fix=fix, where="px.multi_step")
        with uninterrupted():
            return compiled(model, opt, *batch)

    return cast("Callable[P, R]", checked)
