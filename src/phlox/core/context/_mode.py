"""The mode: a Module trains while it is an argument of a px differentiation, and infers elsewhere."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from phlox.core import _compat
from phlox.core.context._here import Node
from phlox.core.context._setting import Setting
from phlox.core.context._warning import warn_once

# A user context is part of every jit key, so a program compiled in one mode never runs in another.
_answer = Setting("px.training", None)


def training(mode: bool | None) -> AbstractContextManager[Any]:
    """Set the automatic answer to "does it train?" for a block, in this thread and asyncio task.

    Pinned parts (``px.trainmode``, ``px.testmode``) and frozen parts keep theirs.

    Arguments:
        mode: True trains, False infers, None follows differentiation again.

    >>> import phlox as px
    >>> layer = px.Dropout(0.5)
    >>> with px.training(True):
    ...     layer.training
    True
    >>> layer.training
    False
    """
    return _answer(mode)


def automatic() -> bool | None:
    """What ``px.training`` says here."""
    return _answer.value


def trains(module: Node) -> bool:
    """The mode of one Module: pinned, else frozen, else ``px.training``, else differentiation."""
    meta = module._px
    if meta.pinned is not None:
        return meta.pinned
    if meta.frozen is True:
        return False
    answer = _answer.value
    if answer is not None:
        return answer
    if not meta.auto and meta.orphan:
        _warn_plain_gradient(module)
    return meta.auto


def _warn_plain_gradient(module: Node) -> None:
    trace = module._px.trace() if module._px.trace is not None else None
    if trace is not None and _compat.is_differentiating(trace):
        warn_once(
            "plain gradient",
            f"{module._brief()} infers under plain jax.grad, which cannot tell that the model trains. Use px.grad or "
            "px.value_and_grad, or open px.training(True) around the call.",
        )
