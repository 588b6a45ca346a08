"""Modules whose calls go through something else, in a program that is looked at or that takes less memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from phlox.core.module._anatomy import touch
from phlox.core.module._arrays import displayed
from phlox.core.module._module import Module
from phlox.core.module._plan import plan_of

Disguise = Callable[[str, Module], type[Module] | None]
"""Gives, for the path of a Module and the Module, the class that it has for a while, or None."""


@functools.cache
def disguised(cls: type[Module], call: Callable[..., Any]) -> type[Module]:
    """A class like ``cls`` whose calls go through ``call(cls.__call__, self, *args, **kwargs)``; made once."""

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        return call(cls.__call__, self, *args, **kwargs)

    return type(cls.__name__, (cls,), {"__call__": __call__, "__module__": cls.__module__})


@contextmanager
def in_disguise(root: Module, disguise: Disguise, name: str = "model") -> Iterator[None]:
    """Within the block, parts of a Module have the classes that ``disguise`` gives; ``name`` is the root's path."""
    plan = plan_of([root])
    parts = {name + displayed(plan.structure.module_path(m)[1]): plan.module(m) for m in range(len(plan.modules))}
    chosen = [(module, cls) for path, module in parts.items() if (cls := disguise(path, module)) is not None]
    before = [type(module) for module, _ in chosen]
    try:
        for module, cls in chosen:
            put_on(module, cls)
        yield
    finally:
        for (module, _), cls in zip(chosen, before, strict=True):
            put_on(module, cls)


def put_on(module: Module, cls: type[Module]) -> None:
    """Give a Module another class with the same attributes."""
    module.__class__ = cls
    touch(module._px)
    module._px.anatomy = None
