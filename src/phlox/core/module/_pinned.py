"""The mode of a part pinned by hand: trainmode, testmode, automode."""

from __future__ import annotations

from typing import TypeVar

from phlox.core.module._anatomy import touch
from phlox.core.module._module import Module
from phlox.core.module._plan import modules_of

M = TypeVar("M", bound=Module)


def _pin(module: M, mode: bool | None) -> M:
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
