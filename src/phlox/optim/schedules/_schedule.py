"""What a schedule is: a function of the step that compares by its arguments and prints as it was written."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ParamSpec

from phlox.core import MissingExtraError, RangeError, static_key
from phlox.optim.schedules._steps import as_float, as_step, held

P = ParamSpec("P")
Curve = Callable[[Any], Any]


@dataclass(frozen=True, eq=False, repr=False)
class Schedule:
    """A number as a function of the step, counted from 0; what the functions of ``px.optim`` make.

    It is called with a step, a number or an array, eager or traced. Equal schedules share compiled programs.
    A rule takes any function of the step in its place.

    >>> import phlox as px
    >>> rate = px.optim.exponential(0.1, 0.5)
    >>> rate, [round(float(rate(step)), 4) for step in range(3)]
    (exponential(0.1, 0.5), [0.1, 0.05, 0.025])
    """

    make: str  # the function of ``px.optim`` that makes it
    arguments: tuple[tuple[str, Any], ...]

    @functools.cached_property
    def _curve(self) -> Curve:
        given = inspect.signature(self._build).bind_partial()
        given.arguments.update(self.arguments)
        return _curve(self._build, given.args, given.kwargs)

    @property
    def _build(self) -> Callable[..., Curve]:
        return _builders[self.make]

    def __call__(self, step: Any) -> Any:
        return as_float(self._curve(as_step(step)))

    def _key(self) -> Any:
        return self.make, tuple(_alike(v) for _, v in self.arguments)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return Schedule, (self.make, self.arguments)  # the curve is a closure, and made again

    def __repr__(self) -> str:
        shown = [t for name, v in self.arguments for t in self._texts(name, v)]
        return f"{self.make}({', '.join(shown)})"

    def _texts(self, name: str, value: Any) -> list[str]:
        """An argument as it was written, and none where it has its default."""
        known = inspect.signature(self._build).parameters[name]
        if known.kind is known.VAR_POSITIONAL:
            return [_shown(v) for v in value]
        if value == known.default:
            return []
        return [_shown(value) if known.default is known.empty else f"{name}={_shown(value)}"]


def _alike(value: Any) -> Any:
    """A key of an argument; a list is as good as a tuple."""
    return tuple(map(_alike, value)) if isinstance(value, (list, tuple)) else static_key(value)


def _shown(value: Any) -> str:
    return getattr(value, "__name__", None) or repr(value)


_builders: dict[str, Callable[..., Curve]] = {}  # by name: what a pickle or a file says of a schedule


def schedule(build: Callable[P, Curve]) -> Callable[P, Schedule]:
    """A function that makes schedules out of one that makes curves."""
    signature = inspect.signature(build)

    @functools.wraps(build)
    def make(*args: P.args, **kwargs: P.kwargs) -> Schedule:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        made = Schedule(build.__name__, tuple(given.arguments.items()))
        made.__dict__["_curve"] = _curve(build, args, kwargs)  # which checks its arguments
        return made

    _builders[build.__name__] = build
    make.makes_schedules = True  # pyright: ignore[reportAttributeAccessIssue]  # by which a rule knows it is no schedule
    return make


def _curve(build: Callable[..., Curve], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Curve:
    return build(*held(args), **{k: held(v) for k, v in kwargs.items()})


def at_least(name: str, value: float, low: float, where: str) -> None:
    """Refuse a number below a bound."""
    if not value >= low:
        raise RangeError(f"{name} of at least {low:g}", got=repr(value), fix=f"choose {name} ≥ {low:g}", where=where)


def above(name: str, value: float, low: float, where: str) -> None:
    """Refuse a number that is not above a bound."""
    if not value > low:
        raise RangeError(f"{name} above {low:g}", got=repr(value), fix=f"choose {name} > {low:g}", where=where)


class Stateful:
    """A schedule that is asked for its next value, for loops that count no steps.

    Arguments:
        schedule: any function of the step.
        advance: whether to move on after a value, asked with the step; always by default.

    >>> import phlox as px
    >>> rate = px.optim.Stateful(px.optim.linear(1.0, 0.0, 4))
    >>> [float(next(rate)) for _ in range(3)]
    [1.0, 0.75, 0.5]
    >>> float(next(rate.reset()))
    1.0
    """

    schedule: Curve
    advance: Callable[[int], bool] | None
    step: int

    def __init__(self, schedule: Curve, advance: Callable[[int], bool] | None = None):
        self.schedule, self.advance, self.step = schedule, advance, 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        value = self.schedule(self.step)
        if self.advance is None or self.advance(self.step):
            self.step += 1
        return value

    def reset(self) -> Stateful:
        """Start again at step 0."""
        self.step = 0
        return self


def plot_schedule(schedule: Curve, steps: int, *, ax: Any = None) -> Any:
    """Plot a schedule over steps 0, 1, …, steps - 1 with matplotlib; returns the axes.

    Arguments:
        schedule: any function of the step.
        steps: how many steps, at least 1.
        ax: axes of matplotlib to draw on; new ones by default.

    Raises:
        MissingExtraError: matplotlib is not installed.
        RangeError: no steps.

    >>> import phlox as px
    >>> ax = px.optim.plot_schedule(px.optim.one_cycle(0.1, 100), 100)  # doctest: +SKIP
    """
    at_least("steps", steps, 1, "plot_schedule")
    if ax is None:
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise MissingExtraError(
                "matplotlib", got="none", fix='pip install "phlox[plots]"', where="plot_schedule"
            ) from None
        ax = plt.figure().add_subplot()
    at = range(steps)
    ax.plot(at, [float(schedule(step)) for step in at])
    ax.set_xlabel("step")
    ax.set_ylabel(repr(schedule) if isinstance(schedule, Schedule) else "value")
    return ax
