"""What a search may choose from: numbers in a range, whole numbers, one of several things."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phlox.core import RangeError, describe


@dataclass(frozen=True)
class Uniform:
    """A number between two bounds, both included.

    Arguments:
        low, high: the bounds, finite, ``low`` below ``high``.
        log: whether its logarithm is spread evenly, in place of itself; ``low`` is then above 0.
        step: a multiple of this above ``low``, in place of any number; not with ``log``.

    Raises:
        RangeError: bounds or steps that mean nothing.

    >>> import phlox as px
    >>> px.search.Uniform(1e-4, 1e-1, log=True)
    Uniform(low=0.0001, high=0.1, log=True, step=None)
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        _check(self, math.isfinite(self.low) and math.isfinite(self.high))

    def optuna(self) -> Any:
        """As Optuna has it."""
        from optuna.distributions import FloatDistribution  # pyright: ignore[reportMissingImports]  # an extra

        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def value(self, told: Any) -> Any:
        """What an objective gets for what a storage keeps."""
        return told


@dataclass(frozen=True)
class Integer:
    """A whole number between two bounds, both included.

    Arguments:
        low, high: the bounds, ``low`` below ``high``.
        log: whether its logarithm is spread evenly, in place of itself; ``low`` is then at least 1.
        step: ``low`` plus a multiple of this; 1 with ``log``.

    Raises:
        RangeError: bounds or steps that mean nothing.

    >>> import phlox as px
    >>> px.search.Integer(16, 128, step=16)
    Integer(low=16, high=128, log=False, step=16)
    """

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        _check(self, all(isinstance(n, int) and not isinstance(n, bool) for n in (self.low, self.high, self.step)))

    def optuna(self) -> Any:
        """As Optuna has it."""
        from optuna.distributions import IntDistribution  # pyright: ignore[reportMissingImports]  # an extra

        return IntDistribution(self.low, self.high, log=self.log, step=self.step)

    def value(self, told: Any) -> Any:
        """What an objective gets for what a storage keeps."""
        return int(told)


@dataclass(frozen=True)
class Choice:
    """One of several things, between which there is no order.

    Arguments:
        options: numbers, texts, True, False and None as they are; functions and classes, which a study keeps by name.

    Raises:
        RangeError: no options, or two of one name.

    >>> import phlox as px
    >>> px.search.Choice([px.relu, px.gelu]).labels
    ('relu', 'gelu')
    """

    options: Sequence[Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options or len({(type(label), label) for label in self.labels}) < len(self.options):
            fix = "give each once; things of one name in a function or dict of your own"
            raise RangeError("different options", got=describe(list(self.labels)) if not self.options else
                             ", ".join(map(repr, self.labels)), fix=fix, where="Choice")  # fmt: skip

    @property
    def labels(self) -> tuple[Any, ...]:
        """What a study keeps of each option."""
        return tuple(
            option if _is_plain(option) else getattr(option, "__name__", repr(option)) for option in self.options
        )

    def optuna(self) -> Any:
        """As Optuna has it."""
        from optuna.distributions import CategoricalDistribution  # pyright: ignore[reportMissingImports]  # an extra

        return CategoricalDistribution(self.labels)

    def value(self, told: Any) -> Any:
        """What an objective gets for what a storage keeps."""
        kept = [(type(label), label) for label in self.labels]
        return self.options[kept.index((type(told), told))]


Space = Mapping[str, Uniform | Integer | Choice]


def as_space(given: Any, where: str) -> Space:
    """A space from a dict by name; a list stands for a choice.

    Raises:
        RangeError: no dict, an empty one, or what is no range.
    """
    if not isinstance(given, Mapping) or not given:
        fix = "pass for example {'rate': px.search.Uniform(1e-4, 1e-1, log=True)}"
        raise RangeError("a dict of what to choose from, by name", got=describe(given), fix=fix, where=where)
    found = {}
    for name, one in given.items():
        if not isinstance(one, Uniform | Integer | Choice | list):
            fix = "write px.search.Uniform(low, high), px.search.Integer(low, high) or a list of options"
            raise RangeError(f"a range or a list as {name!r}", got=repr(one)[:60], fix=fix, where=where)
        found[str(name)] = Choice(one) if isinstance(one, list) else one
    return found


def _check(range_: Uniform | Integer, numbers: bool) -> None:
    """Refuse a range that means nothing."""
    least = 1 if isinstance(range_, Integer) else 0
    stepped = range_.step not in (None, 1) if isinstance(range_, Integer) else range_.step is not None
    wrong = (
        (not numbers, "numbers as bounds", "give finite ones; whole ones for Integer"),
        (numbers and not range_.low < range_.high, "low below high", "exchange them, or leave the setting out"),
        (
            numbers and range_.log and not (range_.low >= least if least else range_.low > 0),
            "a positive low with log",
            "give one, or leave log out",
        ),
        (numbers and stepped and range_.log, "log or a step", "leave one out"),
        (numbers and range_.step is not None and not range_.step > 0, "a step above 0", "leave it out"),
    )
    for is_wrong, expected, fix in wrong:
        if is_wrong:
            raise RangeError(expected, got=repr(range_), fix=fix, where=type(range_).__name__)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
