"""The numbers that an optimiser's state holds: found by name, checked, and told why one is not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax.core import Tracer

from phlox.core import RangeError, StructureError
from phlox.optim.rules import _habits
from phlox.optim.rules._rule import Rule, check

_INJECTED = "hyperparams/"  # where optax.inject_hyperparams keeps its numbers


def slots_of(rule: Any, names: Sequence[str], name: str, group: str | None) -> list[str]:
    """The parts of a state that hold a number.

    Raises:
        StructureError: there is none.
    """
    found = [n for n in names if n.split("/")[-1] == name or n.split(".")[-1] == name]
    if group is not None:
        found = [n for n in found if f"inner_states/{group}/" in n]
    if not found:
        held = name if group is None else f"{name} for the group {group!r}"
        raise StructureError(
            f"a rule that holds {held} as state", got=_why_not(rule, names, name, group), fix=_cure(rule, name),
            where="Optimizer.adjust",
        )  # fmt: skip
    return found


def _why_not(rule: Any, names: Sequence[str], name: str, group: str | None) -> str:
    if group is not None and not any(f"inner_states/{group}/" in n for n in names):
        return "no such group"
    if any(callable(one.numbers.get(name)) for one in _all_rules(rule)):
        return "a learning rate that a schedule computes" if name == "learning_rate" else "a schedule of it"
    kind = type(rule).__name__ if isinstance(rule, Rule) else "a transformation of optax"
    return f"{kind}, whose numbers are constants of the program"


def _cure(rule: Any, name: str) -> str:
    if name in ("lr", "rate"):
        return "write opt.adjust(learning_rate=…)"
    if isinstance(rule, Rule):
        return "make a new Optimizer with the number you want" if name != "learning_rate" else (
            "give the rule a number for a learning rate, or change the schedule"
        )  # fmt: skip
    return f"make it with optax.inject_hyperparams(…)({name}=…), or use a rule of px.optim"


def check_number(rule: Any, name: str, number: Any) -> None:
    """Refuse a number outside the range of a rule that has it; a traced one is taken as it is."""
    if isinstance(number, Tracer):
        return
    if not _habits.is_number(number) or not number >= 0:
        fix = f"choose {name} ≥ 0" if _habits.is_number(number) else f"give a number for {name}"
        got = _habits.told(number)
        raise RangeError(f"{name} of at least 0", got=got, fix=fix, where="Optimizer.adjust")
    for one in _all_rules(rule):
        if name in one.ranges:
            check(one, name, number, *one.ranges[name])


def injected(names: Sequence[str]) -> dict[str, str]:
    """The numbers of ``optax.inject_hyperparams`` by name, and where a state holds them."""
    return {n.split(_INJECTED)[-1]: n for n in names if _INJECTED in n}


def _all_rules(rule: Any) -> list[Rule]:
    """A rule and those inside it."""
    if not isinstance(rule, Rule):
        return []
    return [rule, *[r for value in vars(rule).values() for inner in _rules_in(value) for r in _all_rules(inner)]]


def _rules_in(value: Any) -> list[Rule]:
    if isinstance(value, tuple):
        return [r for part in value for r in _rules_in(part)]
    return [value] if isinstance(value, Rule) else []
