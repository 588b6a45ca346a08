"""The pure view: parameters and state as dicts of arrays by path, and the model as a function of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

from phlox.core._errors import StructureError, describe
from phlox.core.context._mode import training
from phlox.core.module._module import Module
from phlox.core.module._plan import modules_of, plan_of

M = TypeVar("M", bound=Module)
Arrays = dict[str, Any]


def split(model: Module) -> tuple[Arrays, Arrays]:
    """Take a model apart into its trainable arrays and all others, each a dict from path to array.

    What is shared appears once. ``px.merge`` is the exact inverse. Plain ``jax.grad`` and optax work on the
    first dict; what is State, frozen or not floating is in the second.

    >>> import phlox as px
    >>> params, state = px.split(px.BatchNorm(3))
    >>> list(params), list(state)
    (['scale', 'bias'], ['mean', 'var'])
    """
    plan = plan_of([model]).check_read()
    params: Arrays = {}
    state: Arrays = {}
    for i, (name, value) in enumerate(zip(plan.structure.names(), plan.gather(), strict=True)):
        (params if plan.structure.is_trainable(i, value) else state)[name] = value
    return params, state


def merge(model: M, params: Mapping[str, Any], state: Mapping[str, Any]) -> M:
    """A new model of the structure of ``model`` that holds these arrays; ``model`` stays as it is.

    Raises:
        StructureError: a path is missing or unknown.

    >>> import phlox as px
    >>> model = px.Dense(2, 3)
    >>> px.merge(model, *px.split(model)).weight is model.weight
    True
    """
    plan = plan_of([model])
    names = plan.structure.names()
    given = {**params, **state}
    missing, unknown = [n for n in names if n not in given], [n for n in given if n not in set(names)]
    faults = (("missing", missing), ("unknown", unknown))
    if missing or unknown or len(given) != len(params) + len(state):
        raise StructureError(
            f"the {len(names)} arrays of this model, each once, in params or state",
            got="; ".join(f"{what} {', '.join(found)}" for what, found in faults if found) or "a path in both",
            fix="pass what px.split(model) returned for a model of this structure",
            where="px.merge",
        )
    root: M = plan.structure.build([given[n] for n in names])[plan.structure.roots[0]]
    return root


def apply(
    model: Module,
    params: Mapping[str, Any],
    state: Mapping[str, Any],
    *args: Any,
    train: bool | None = False,
    method: str | Callable[..., Any] = "__call__",
    **kwargs: Any,
) -> tuple[Any, Arrays]:
    """Run a model as a pure function of its arrays.

    Arguments:
        model: gives the structure; its own arrays are neither read nor changed.
        params: trainable arrays by path, as from ``px.split``.
        state: all other arrays by path.
        args: what the model is called with.
        train: the mode; None follows ``px.training``.
        method: a method's name, or a function of the model and ``args``.

    Returns:
        The result, and the state afterwards.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.BatchNorm(2)
    >>> y, state = px.apply(model, *px.split(model), jnp.array([[0.0, 1.0], [2.0, 3.0]]), train=True)
    >>> [round(float(m), 6) for m in state["mean"]]
    [0.1, 0.2]
    """
    fresh = merge(model, params, state)
    for part in modules_of(fresh):
        part._px.auto = False
        part._px.anatomy = None
    with training(train) if train is not None else nullcontext():
        result = getattr(fresh, method)(*args, **kwargs) if isinstance(method, str) else method(fresh, *args, **kwargs)
    plan = plan_of([fresh])
    after = dict(zip(plan.structure.names(), plan.gather(), strict=True))
    _refuse_moved_params(params, after)
    return result, {name: after[name] for name in state}


def _refuse_moved_params(params: Mapping[str, Any], after: Arrays) -> None:
    for name, value in params.items():
        if after[name] is not value and hasattr(value, "dtype"):
            raise StructureError(
                "a call that writes State only",
                got=f"a new value for the parameter {name}, {describe(value)}",
                fix="annotate what the call moves in its class: name: px.State",
                where="px.apply",
            )
