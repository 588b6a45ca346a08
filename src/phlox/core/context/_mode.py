"""The mode: a Module trains while it is an argument of a px differentiation, and infers elsewhere."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from phlox.core import _compat
from phlox.core.context._scope import warn_once
from phlox.core.context._setting import Setting

if TYPE_CHECKING:
    from phlox.core.module._module import Module

M = TypeVar("M", bound="Module")

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


def trains(module: Module) -> bool:
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


def _warn_plain_gradient(module: Module) -> None:
    trace = module._px.trace() if module._px.trace is not None else None
    if trace is not None and _compat.is_differentiating(trace):
        warn_once(
            "plain gradient",
            f"{module._brief()} infers under plain jax.grad, which cannot tell that the model trains. Use px.grad or "
            "px.value_and_grad, or open px.training(True) around the call.",
        )


def _pin(module: M, mode: bool | None) -> M:
    from phlox.core.module._module import touch
    from phlox.core.module._plan import modules_of

    for m in modules_of(module):
        m._px.pinned = mode
        touch(m._px)
    return module


def trainmode(module: M) -> M:
    """Pin a Module and all parts of it to training; returns it.

    >>> import phlox as px
    >>> px.trainmode(px.Dropout(0.5)).training
    True
    """
    return _pin(module, True)


def testmode(module: M) -> M:
    """Pin a Module and all parts of it to inference, also inside a gradient; returns it.

    >>> import phlox as px
    >>> px.testmode(px.Dropout(0.5)).training
    False
    """
    return _pin(module, False)


def automode(module: M) -> M:
    """Undo ``trainmode`` and ``testmode``; returns the Module.

    >>> import phlox as px
    >>> px.automode(px.trainmode(px.Dropout(0.5))).training
    False
    """
    return _pin(module, None)


testmode.__test__ = False  # type: ignore[attr-defined]  # pytest would collect the name
