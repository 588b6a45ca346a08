"""The learning rate as state, so that changing it needs no new trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    import optax

Schedule = Callable[[Any], Any]
Rate = float | Schedule


class RateState(NamedTuple):
    """What scales the updates: a number that ``adjust`` sets."""

    learning_rate: jax.Array


class ScheduleState(NamedTuple):
    """What scales the updates: a schedule of the number of updates made."""

    count: Any  # () int32


def scale_by_rate(rate: Rate) -> optax.GradientTransformation:
    """Multiply updates by minus the learning rate, a number held as state or a schedule of the step."""
    import optax  # slow to import, so only where a rule is used

    if callable(rate):
        schedule = rate

        def start_schedule(params: Any) -> ScheduleState:
            del params
            return ScheduleState(jnp.zeros((), jnp.int32))

        def by_schedule(updates: Any, state: ScheduleState, params: Any = None) -> tuple[Any, ScheduleState]:
            del params
            now = schedule(state.count)
            return _scaled(updates, now), ScheduleState(optax.safe_increment(state.count))

        return optax.GradientTransformation(start_schedule, by_schedule)  # type: ignore[arg-type]

    def start(params: Any) -> RateState:
        del params
        return RateState(jnp.asarray(rate, jax.dtypes.canonicalize_dtype(float)))

    def by_number(updates: Any, state: RateState, params: Any = None) -> tuple[Any, RateState]:
        del params
        return _scaled(updates, state.learning_rate), state

    return optax.GradientTransformation(start, by_number)  # type: ignore[arg-type]


def _scaled(updates: Any, rate: Any) -> Any:
    return jax.tree.map(lambda u: -jnp.asarray(rate).astype(jnp.real(u).dtype) * u, updates)
