"""A setting for a block of code: each thread and each asyncio task has its own, and programs are keyed by it."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import Any

from phlox.core import _compat

_lock = threading.Lock()
any_open: set[Setting] = set()  # those whose value differs somewhere: while it is empty nothing can be amiss


def settle() -> None:
    """Put this task's values where JAX looks for them, before it makes the key of a compiled program."""
    for setting in tuple(any_open):
        _ = setting.value


class Setting:
    """A value that ``with setting(value):`` changes for a block.

    It is a context variable, so what one asyncio task sets no other sees, and a user context of JAX, which is part of
    every jit key but belongs to the thread. Where a task finds the user context as another task left it, its own
    value is put there first.
    """

    keyed: Any
    blocks: int
    strays: bool

    def __init__(self, name: str, default: Any):
        self.default = default
        self.opened: ContextVar[tuple[tuple[Any, Block], ...]] = ContextVar(name, default=())
        self.keyed = _compat.thread_setting(default)
        self.blocks = 0
        self.strays = False  # a task was seen in a state that another had left: one may outlive the block it began in

    @property
    def value(self) -> Any:
        """What holds here."""
        opened = self.opened.get()
        value = opened[-1][0] if opened else self.default
        if self.keyed.value is not value:
            self.keyed.set_local(value)
            self.strays = True
            any_open.add(self)
        return value

    def count(self, step: int) -> None:
        """Note that a block begins or ends, in any thread and task."""
        with _lock:
            self.blocks += step
            (any_open.add if self.blocks or self.strays else any_open.discard)(self)

    def __call__(self, value: Any) -> Block:
        return Block(self, value)


class Block:
    """A ``with`` block in which a setting has another value; it may be entered again, and inside itself."""

    setting: Setting
    new: Any

    def __init__(self, setting: Setting, value: Any):
        self.setting, self.new = setting, value

    def __enter__(self) -> None:
        opened = self.setting.opened
        opened.set((*opened.get(), (self.new, self)))
        self.setting.keyed.set_local(self.new)
        self.setting.count(+1)

    def __exit__(self, *exc: object) -> None:
        self.setting.count(-1)
        opened = self.setting.opened.get()
        last = max(n for n, (_, block) in enumerate(opened) if block is self)  # blocks of generators end in any order
        self.setting.opened.set((*opened[:last], *opened[last + 1 :]))
        rest = self.setting.opened.get()
        self.setting.keyed.set_local(rest[-1][0] if rest else self.setting.default)
