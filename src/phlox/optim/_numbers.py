"""The numbers of a rule: constants of the program, state that ``adjust`` sets, or schedules of the step."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

Schedule = Callable[[Any], Any]
Number = float | Schedule

HELD = frozenset({"learning_rate", "weight_decay", "momentum", "max_norm", "max_value", "rho"})
"""What ``adjust`` sets without a new trace, wherever a rule has it as a plain number."""


@functools.cache
def record(names: tuple[str, ...]) -> Any:
    """A tuple with these names. No dict, which would look like arrays by path."""
    return namedtuple("Record", names)


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
