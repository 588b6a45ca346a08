"""Checks of what fit, train and their like are given."""

from __future__ import annotations

from typing import Any

from phlox.core import Module, RangeError, StructureError, describe, trainable_arrays
from phlox.optim import Optimizer


def check_model(model: Any, where: str) -> None:
    """Refuse what is no Module."""
    if not isinstance(model, Module):
        fix = "pass a px.Module; a function of layers becomes one with px.Chain"
        raise StructureError("a Module as model", got=describe(model), fix=fix, where=where)


def check_optimizer(opt: Any, model: Module, where: str) -> None:
    """Refuse an optimiser that was made for other arrays than the model's."""
    if not isinstance(opt, Optimizer):
        fix = "pass px.Optimizer(rule, model)"
        raise StructureError("an Optimizer", got=describe(opt), fix=fix, where=where)
    strange = [path for path, v in trainable_arrays(model).items() if not opt.form.knows(path, v)]
    if strange:
        raise StructureError(
            "an optimiser of this model",
            got=f"one made without {', '.join(strange[:3])}{' …' if len(strange) > 3 else ''} as they are here",
            fix="make it with px.Optimizer(rule, model), or adopt what is new with opt.sync(model)",
            where=where,
        )


def check_whole(name: str, value: Any, least: int, where: str) -> None:
    """Refuse what is no whole number of at least ``least``; None passes."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
        fix = "give a whole number"
        raise RangeError(f"{name} of at least {least}", got=repr(value), fix=fix, where=where)
