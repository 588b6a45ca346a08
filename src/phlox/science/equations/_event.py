"""What ends a solve before its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from phlox.core import Module, RangeError, ShapeError, check_function, describe
from phlox.science._inside import Inside
from phlox.science._peers import diffrax, optimistix
from phlox.science.equations._fields import Stops, named

STEADY = "steady_state"
_DIRECTIONS = {None: None, "rising": True, "falling": False}


class Event(Module):
    r"""What ends the solve of an example: a number that changes its sign, or a condition that becomes true.

    A number ends it at the time where it is 0, found by Newton's method on the solver's interpolation, with the
    gradient of that time. A condition ends it with the step in which it became true.

    Shapes:
        what the function gives: one number or boolean, in any shape of one element.

    Arguments:
        function: called as the field is, for a batch of one.
        direction: ``"rising"`` or ``"falling"``, the one change of sign that counts; None for both.

    Raises:
        RangeError: no function, or another direction.

    >>> import jax.numpy as jnp, phlox as px
    >>> def falls(y):
    ...     return jnp.stack([y[:, 1], jnp.full_like(y[:, 1], -9.81)], 1)
    >>> lands = px.science.Event(lambda y: y[:, 0], "falling")
    >>> ball = px.science.NeuralODE(falls, span=(0.0, 9.0), event=lands, solver="bosh3")
    >>> px.eval_shape(ball.solve, jnp.array([[1.0, 0.0], [4.0, 0.0]])).times.shape
    (2,)
    """

    function: Callable[..., Any]
    direction: str | None

    def __init__(self, function: Callable[..., Any], direction: str | None = None):
        self.function = check_function("Event", "function", function, "as the field is")
        if direction not in _DIRECTIONS:
            names = ", ".join(repr(d) for d in _DIRECTIONS)
            raise RangeError(f"direction as {names}", got=repr(direction), fix="choose one of them", where="Event")
        self.direction = direction

    def _brief(self) -> str:
        return f"Event({named(self.function)}" + (f", {self.direction!r})" if self.direction else ")")


def check_event(layer: str, event: Any, step: float | None) -> Any:
    """An Event, None, or the name of a steady state.

    Raises:
        RangeError: something else, or a steady state in steps that have no tolerances.
    """
    if event is None or isinstance(event, Event):
        return event
    if not isinstance(event, str):
        return Event(check_function(layer, "event", event, "as the field is"))
    if event != STEADY:
        fix = f"write event={STEADY!r}, or a function of the state"
        raise RangeError(f"event as a function, an Event or {STEADY!r}", got=repr(event), fix=fix, where=layer)
    if step is not None:
        fix = "leave step out, and set rtol and atol"
        raise RangeError(
            "no step, as a steady state is one within the tolerances", got=f"step={step}", fix=fix, where=layer
        )
    return event


def one_number(value: Any) -> Any:
    """What an event's function gave, as a scalar.

    Raises:
        ShapeError: more numbers than one, or neither a floating number nor a boolean.
    """
    value = jnp.asarray(value)
    if value.size != 1 or not (jnp.issubdtype(value.dtype, jnp.floating) or value.dtype == bool):
        fix = "reduce it to what changes its sign, or becomes true"
        raise ShapeError("an event that gives one floating number or boolean", got=describe(value), fix=fix)
    return value.reshape(())


def made_event(event: Any, stops: Inside | None, rtol: float, atol: float) -> Any:
    """Diffrax's event."""
    peer = diffrax()
    if stops is None:
        return None if event is None else peer.Event(peer.steady_state_event())
    return peer.Event(Stops(stops), optimistix().Newton(rtol, atol), _DIRECTIONS[event.direction])
