"""px.remat: save memory by computing a part of the forward pass again when its gradient is taken."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax

from phlox.core import _compat
from phlox.core._errors import RangeError, describe
from phlox.core.transforms._functionalize import functionalize
from phlox.core.transforms._names import pure_of

P = ParamSpec("P")
R = TypeVar("R")


Policy = Callable[..., Any] | str | None


def remat(fn: Callable[P, R], *, policy: Policy = None, prevent_cse: bool = True) -> Callable[P, R]:
    """Make a function whose intermediate values are not kept for the backward pass but computed again.

    State that it writes moves once, also on Modules captured from the enclosing px scope.

    Arguments:
        fn: a function, or a Module as it is called.
        policy: which values to keep all the same, by name or one of ``jax.checkpoint_policies``; None keeps none.
            ``"dots"`` keeps the results of products, ``"dots_without_batch"`` those of activations with weights alone,
            so that attention's are computed again, ``"offload_dots"`` these in the host's memory, ``"everything"``
            and ``"nothing"`` what they say.
        prevent_cse: keep the compiler from undoing the saving; False is faster inside ``px.scan``.

    Raises:
        RangeError: a policy of another name.
        StructureError: the function changes a model's structure.

    Source: Griewank and Walther, "Algorithm 799: revolve", 2000.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.grad(px.remat(lambda x: jnp.sin(x) ** 2))(0.0).tolist()
    0.0
    """

    policy = _policy(policy)

    @functools.wraps(fn)
    def rematerialised(*args: Any, **kwargs: Any) -> Any:
        if _compat.eager():
            return fn(*args, **kwargs)
        call = functionalize(fn, args, kwargs, kind="remat")
        saved = jax.checkpoint(pure_of(call), policy=policy, prevent_cse=prevent_cse)
        return call.commit(saved(call.leaves, call.bare))

    return rematerialised


def _policy(policy: Policy) -> Callable[..., Any] | None:
    """A policy of JAX's, by the name that it has here."""
    if policy is None or (callable(policy) and not isinstance(policy, str)):
        return policy
    known = _policies()
    if policy not in known:
        raise RangeError(
            f"policy as {', '.join(map(repr, known))}, a function of jax.checkpoint_policies, or None",
            got=repr(policy) if isinstance(policy, str) else describe(policy),
            fix="choose a name; policy=None keeps nothing",
            where="px.remat",
        )
    return known[policy]


@functools.cache
def _policies() -> dict[str, Callable[..., Any]]:
    all_of_them = jax.checkpoint_policies
    return {
        "nothing": all_of_them.nothing_saveable,
        "everything": all_of_them.everything_saveable,
        "dots": all_of_them.dots_saveable,
        "dots_without_batch": all_of_them.dots_with_no_batch_dims_saveable,
        "offload_dots": all_of_them.offload_dot_with_no_batch_dims("device", "pinned_host"),
    }


def check_policy(remat: Any, where: str) -> bool | str:
    """What a layer was given as ``remat``: whether to compute again, or the name of what to keep all the same.

    Raises:
        RangeError: a name that there is not.
    """
    if isinstance(remat, str):
        try:
            _policy(remat)
        except RangeError as error:
            error.where = where
            raise
        return remat
    return bool(remat)
