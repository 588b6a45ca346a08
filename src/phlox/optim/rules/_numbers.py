"""The numbers of a rule: constants of the program, state that ``adjust`` sets, or schedules of the step."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.optim.schedules import _schedule

Schedule = Callable[[Any], Any]
Number = float | Schedule

HELD = frozenset({"learning_rate", "weight_decay", "momentum", "max_norm", "max_value", "rho"})
"""What ``adjust`` sets without a new trace, wherever a rule has it as a plain number."""


@functools.cache
def record(names: tuple[str, ...]) -> Any:
    """A tuple with these names. No dict, which would look like arrays by path."""
    kind = namedtuple("Record", names)
    kind.__name__ = kind.__qualname__ = _RECORD + ",".join(names)  # by which a pickle finds the class: see below
    return kind


_RECORD = "Record:"


def __getattr__(name: str) -> Any:
    """The class of a record by its name, in a process that has made none of the kind yet."""
    if not name.startswith(_RECORD):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return record(tuple(part for part in name.removeprefix(_RECORD).split(",") if part))


def start(numbers: dict[str, Number]) -> Any:
    """Numbers as state, by name."""
    wide = jax.dtypes.canonicalize_dtype(float)
    return record(tuple(numbers))(*[jnp.asarray(v, wide) for v in numbers.values()])


def now(constants: dict[str, Number], held: Any, count: Any) -> dict[str, Any]:
    """All numbers at this step: constants as they are, state, and schedules of the count."""
    known = held._asdict()
    found = {k: known.get(k, v) for k, v in constants.items()}
    return {k: v(count) if callable(v) else v for k, v in found.items()}


def as_dtype(numbers: dict[str, Any], dtype: Any) -> dict[str, Any]:
    """Numbers for arithmetic with arrays of a dtype: what is an array takes their precision."""
    real = jnp.finfo(dtype).dtype
    return {k: v.astype(real) if _is_float(v) else v for k, v in numbers.items()}


def _is_float(number: Any) -> bool:
    return hasattr(number, "dtype") and jnp.issubdtype(number.dtype, jnp.floating)


def names_of(paths: Iterable[Any]) -> tuple[str, ...]:
    """Key paths of a tree as text."""
    return tuple(jax.tree_util.keystr(p, simple=True, separator=".") for p in paths)


def is_plain(value: Any) -> bool:
    """A number, also as an array of no axes; no truth value."""
    if isinstance(value, (bool, np.bool_)):
        return False
    if isinstance(value, (int, float, np.number)):
        return True
    array = isinstance(value, (jax.Array, np.ndarray))
    return array and value.ndim == 0 and jnp.issubdtype(value.dtype, jnp.number)


def plain_in(rule: Any, base: type) -> list[str]:
    """The names of the numbers of a rule that tells no ranges: its attributes, and those of its class."""
    kinds = [c for c in type(rule).__mro__ if issubclass(c, base) and c is not base]
    of_class = [name for c in kinds for name, v in vars(c).items() if is_plain(v)]
    names = [name for name in dict.fromkeys([*vars(rule), *of_class]) if not name.startswith("_")]
    found = {name: getattr(rule, name) for name in names}
    is_curve = lambda name, v: isinstance(v, _schedule.Schedule) or (name in HELD and callable(v))  # noqa: E731
    return [name for name, v in found.items() if is_plain(v) or is_curve(name, v)]


class Known:
    """What a formula is told by name: the numbers of the step, and else what the rule has as attributes."""

    def __init__(self, rule: Any, names: dict[str, Any]):
        self.__dict__.update(names)
        self.__dict__["_rule"] = rule

    def __getattr__(self, name: str) -> Any:
        rule = self.__dict__.get("_rule")
        value = None if name.startswith("_") else getattr(rule, name, None)
        if value is not None and not callable(value):
            return value
        known = ", ".join(n for n in self.__dict__ if n != "_rule")
        raise AttributeError(
            f"{type(rule).__name__} has no number {name}, only {known}\n"
            f"  fix: set self.{name} in __init__, make it a field of the dataclass, or return it from corrections"
        )
