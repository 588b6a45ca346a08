"""A rule whose schedules of the learning rate are wrapped in others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from phlox.optim import Optimizer, Rule

Schedule = Callable[[Any], Any]


def rescheduled(rule: Any, wrap: Callable[[Schedule], Schedule]) -> Any:
    """The rule with ``wrap(schedule)`` in place of each schedule of a learning rate in it; itself where it has none.

    >>> import phlox as px
    >>> rule = px.optim.chain(px.optim.ClipGlobalNorm(1.0), px.optim.Descent(lambda step: 0.5))
    >>> rescheduled(rule, lambda schedule: lambda step: schedule(step) / 5).rules[1].learning_rate(0)
    0.1
    """
    if isinstance(rule, tuple):
        parts = [rescheduled(part, wrap) for part in rule]
        same = all(new is old for new, old in zip(parts, rule, strict=True))
        return rule if same else tuple(parts)
    if not isinstance(rule, Rule):
        return rule
    changed = {}
    for field in dataclasses.fields(rule):
        value = getattr(rule, field.name)
        new = wrap(value) if field.name == "learning_rate" and callable(value) else rescheduled(value, wrap)
        if new is not value:
            changed[field.name] = new
    return dataclasses.replace(rule, **changed) if changed else rule


def updates_done(opt: Optimizer) -> int:
    """How many updates the schedules of an optimiser have counted."""
    counts = [int(getattr(opt.slots, name)) for name in opt.form.names if name.split("/")[-1] in ("step", ".step")]
    return max(counts, default=0)
