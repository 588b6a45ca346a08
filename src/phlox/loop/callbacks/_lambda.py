"""A callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from phlox.core import RangeError
from phlox.loop.callbacks._callback import HOOKS, Callback


class LambdaCallback(Callback):
    """Calls functions at the moments whose names they are given by.

    Each gets what the hook of ``Callback`` gets: the ``Run``; those inside the compiled step what is told there.

    Arguments:
        hooks: functions by the name of a hook, such as ``on_epoch_end=lambda run: print(run.logs)``.

    Raises:
        RangeError: no such hook, or what cannot be called.

    >>> import phlox as px
    >>> callback = px.LambdaCallback(on_epoch_end=lambda run: print(run.epoch, run.logs["loss"]))
    """

    def __init__(self, **hooks: Callable[..., Any]):
        unknown = [name for name in hooks if name not in HOOKS]
        if unknown or not hooks:
            raise RangeError(
                "hooks of Callback by name", got=", ".join(unknown) or "none", fix=f"use {', '.join(HOOKS)}",
                where="LambdaCallback",
            )  # fmt: skip
        for name, function in hooks.items():
            if not callable(function):
                raise RangeError(
                    f"a function as {name}", got=repr(function), fix=f"write {name}=lambda run: …",
                    where="LambdaCallback",
                )  # fmt: skip
            setattr(self, name, function)

    def steps_until(self, run: Any) -> int | None:
        return 1 if "on_step_start" in vars(self) or "on_step_end" in vars(self) else None
