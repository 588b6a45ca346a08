"""px.remat: save memory by computing a part of the forward pass again when its gradient is taken."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax

from phlox.core import _compat
from phlox.core.transforms._functionalize import functionalize
from phlox.core.transforms._names import pure_of

P = ParamSpec("P")
R = TypeVar("R")


def remat(fn: Callable[P, R], *, policy: Callable[..., bool] | None = None, prevent_cse: bool = True) -> Callable[P, R]:
    """Make a function whose intermediate values are not kept for the backward pass but computed again.

    State that it writes moves once, also on Modules captured from the enclosing px scope.

    Arguments:
        fn: a function, or a Module as it is called.
        policy: which values to keep all the same, one of ``jax.checkpoint_policies``; None keeps none.
        prevent_cse: keep the compiler from undoing the saving; False is faster inside ``px.scan``.

    Raises:
        StructureError: the function changes a model's structure.

    Source: Griewank and Walther, "Algorithm 799: revolve", 2000.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.grad(px.remat(lambda x: jnp.sin(x) ** 2))(0.0).tolist()
    0.0
    """

    @functools.wraps(fn)
    def rematerialised(*args: Any, **kwargs: Any) -> Any:
        if _compat.eager():
            return fn(*args, **kwargs)
        call = functionalize(fn, args, kwargs, kind="remat")
        saved = jax.checkpoint(pure_of(call), policy=policy, prevent_cse=prevent_cse)
        return call.commit(saved(call.leaves, call.bare))

    return rematerialised
