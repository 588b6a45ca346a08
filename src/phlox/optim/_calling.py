"""A transformation of optax called with what it takes: not all of them take every extra argument."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax

from phlox.core import training
from phlox.optim._models import Models, rebuilt
from phlox.optim.rules._applied import ascent

Extras = dict[str, Any]


def extras(model: Models, grads: Any, value: Any, value_fn: Any) -> Extras:
    """The extra arguments of an update, as optax names them; gradients among them are JAX's own, as optax expects."""
    found = {} if value is None else {"value": value}
    return found if value_fn is None else {**found, "value_fn": _of_arrays(value_fn, model), "grad": grads}


def _of_arrays(value_fn: Callable[[Any], Any], model: Models) -> Callable[[dict[str, Any]], Any]:
    """The loss as a function of some arrays by path; the model's others stay as they are."""

    def function(params: dict[str, Any]) -> Any:
        with training(True):
            return value_fn(rebuilt(model, params))

    return function


def called(update: Any, grads: Any, state: Any, params: Any, extra: Extras) -> Any:
    """``update`` with as many of the extra arguments as it takes.

    ``optax.contrib.sam`` says that it takes extra arguments and takes ``grad_fn`` alone, also inside ``optax.chain``,
    where no signature tells; so what is refused by name is left out, which costs nothing after the trace.
    """
    function = extra.get("value_fn")
    while True:
        try:
            return update(grads, state, params, **extra)
        except (TypeError, ValueError) as error:
            told = _without(extra, error)
            if told is None:
                told = _with_gradient(extra, function, error)
            if told is None:
                raise
            extra = told


def _without(extra: Extras, error: Exception) -> Extras | None:
    refused = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if refused is None or refused[1] not in extra:
        return None
    return {name: v for name, v in extra.items() if name != refused[1]}


def _with_gradient(extra: Extras, function: Any, error: Exception) -> Extras | None:
    """With ``grad_fn``, which an update asks for; those that do not ask refuse it."""
    if "grad_fn must be provided" not in str(error) or function is None or "grad_fn" in extra:
        return None
    return {**extra, "grad_fn": lambda params, *_: ascent(jax.grad(function)(params))}
