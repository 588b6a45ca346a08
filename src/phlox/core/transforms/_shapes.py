"""px.eval_shape: what a function would return, without computing anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

import jax

from phlox.core.context._random import seed
from phlox.core.module._module import Module
from phlox.core.transforms._bound import carried
from phlox.core.transforms._functionalize import functionalize
from phlox.core.transforms._names import pure_of

M = TypeVar("M", bound=Module)


@overload
def eval_shape(fn: Callable[..., M], *args: Any, **kwargs: Any) -> M: ...
@overload
def eval_shape(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any: ...
def eval_shape(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The shapes and dtypes of what ``fn(*args, **kwargs)`` would return; nothing is computed or written.

    Arguments may be ``jax.ShapeDtypeStruct``. A Module built inside comes back with them in place of arrays,
    so a model too large for the machine can be looked at.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.eval_shape(px.Dense(4, 2), jnp.ones((8, 4))).shape
    (8, 2)
    >>> px.eval_shape(lambda: px.Dense(10**6, 10**6)).weight.shape
    (1000000, 1000000)
    """

    inner, first, named = carried(fn)

    def seeded(*args: Any, **kwargs: Any) -> Any:
        with seed(0):
            return inner(*args, **kwargs)

    seeded.__wrapped__ = inner  # type: ignore[attr-defined]  # what names and signature are asked of
    call = functionalize(seeded, (*first, *args), {**named, **kwargs}, kind="eval_shape", scalars=True)
    outcome = jax.eval_shape(pure_of(call), call.leaves, call.bare)
    return outcome.record.result.rebuild(outcome.outputs, call.plan.module)
