"""Checks of what fit, train and their like are given."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np

from phlox import optim
from phlox.core import Module, RangeError, StructureError, describe, trainable_arrays
from phlox.optim import Optimizer, Rule


def check_model(model: Any, where: str) -> None:
    """Refuse what is no Module."""
    if not isinstance(model, Module):
        fix = "pass a px.Module; a function of layers becomes one with px.Chain"
        raise StructureError("a Module as model", got=told(model), fix=fix, where=where)


def check_optimizer(opt: Any, model: Module, where: str) -> None:
    """Refuse an optimiser that was made for other arrays than the model's."""
    if not isinstance(opt, Optimizer):
        fix = "pass px.Optimizer(rule, model)"
        raise StructureError("an Optimizer", got=told(opt), fix=fix, where=where)
    strange = [path for path, v in trainable_arrays(model).items() if not opt.form.knows(path, v)]
    if strange:
        raise StructureError(
            "an optimiser of this model",
            got=f"one made without {', '.join(strange[:3])}{' …' if len(strange) > 3 else ''} as they are here",
            fix="make it with px.Optimizer(rule, model), or adopt what is new with opt.sync(model)",
            where=where,
        )


def check_rule(optimizer: Any, where: str) -> None:
    """Refuse what is neither an optimiser nor a rule, such as the name or the class of one."""
    if isinstance(optimizer, (Optimizer, Rule)):
        return
    if not isinstance(optimizer, type) and hasattr(optimizer, "init") and hasattr(optimizer, "update"):
        return  # one of optax
    name = optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", "")
    rules = {n.lower(): n for n in vars(optim) if inspect.isclass(vars(optim)[n]) and issubclass(vars(optim)[n], Rule)}
    fix = f"pass px.optim.{rules.get(name.lower(), 'Adam')}(1e-3), where 1e-3 is the learning rate"
    what = "a rule of px.optim, or a px.Optimizer, as optimizer"
    raise StructureError(what, got=told(optimizer), fix=fix, where=where)


def check_whole(name: str, value: Any, least: int, where: str) -> None:
    """Refuse what is no whole number of at least ``least``; None passes."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if value is not None and (not whole or value < least):
        fix = f"give for example {name}={max(least, 1)}"
        raise RangeError(f"{name} to be a whole number, at least {least}", got=repr(value), fix=fix, where=where)


def check_folder(name: str, folder: Any, where: str) -> None:
    """Refuse a folder that cannot be made, because there is a file; None passes."""
    if folder is None:
        return
    path = Path(folder)
    there = next((p for p in (path, *path.parents) if p.exists()), None)
    if there is not None and not there.is_dir():
        fix = "give the path of a folder; it is made where it is missing"
        raise RangeError(f"a folder as {name}", got=f"the file {str(there)!r}", fix=fix, where=where)


def told(value: Any) -> str:
    """A value for a message, a class or a function by its name.

    >>> told(int), told(max), told(3)
    ('the class int', 'the function max', '3')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"the function {value.__name__}" if inspect.isroutine(value) else describe(value)
