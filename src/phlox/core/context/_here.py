"""What runs here, and what a Module knows of where it was born: the data that the whole core shares.

Each Module remembers the trace and the scope it was born in, in its ``Meta``, which is no part of the tree. What a
Module does stands far above, in ``module/``; the files below that know it as a ``Node``.
"""

from __future__ import annotations

import itertools
import threading
from typing import Any, ClassVar

from phlox.core import _compat

_uids = itertools.count()

COLLECTING = frozenset({"scan", "while_loop", "cond", "remat"})  # kinds of scopes whose bodies write captured Modules
DIFFERENTIATING = frozenset({"grad", "vjp", "jvp", "jacobian", "hessian", "hvp"})
GUARDED = DIFFERENTIATING | {"jit"}  # those in which reads of Modules are watched


class Node:
    """A Module as the files below ``Module`` know it: an object with a ``Meta``, and a name on one line."""

    __slots__ = ("__dict__", "__weakref__", "_px")
    _px: Meta
    _roles: ClassVar[dict[str, str]] = {}  # by annotation
    _default_role: ClassVar[str | None] = None  # of attributes without one
    _veiled: ClassVar[bool] = False  # where its place in paths is empty
    _implied: ClassVar[dict[str, str]] = {}  # options that are not printed where another one is False

    def _brief(self) -> str:
        """The Module on one line, for errors and the printed tree; layers give constructor form."""
        return type(self).__name__


class Meta:
    """What a Module knows about itself besides its attributes. Never copied, compared or saved."""

    __slots__ = (
        "anatomy",
        "auto",
        "constant",
        "forced",
        "frozen",
        "gradient",
        "orphan",
        "pinned",
        "scope",
        "sound",
        "trace",
        "uid",
        "version",
    )

    def __init__(self) -> None:
        self.uid = next(_uids)
        self.version = 0
        self.sound = -1  # the epoch at which no Module from here down held itself
        self.scope = here.scope
        trace = _compat.current_trace()
        self.trace = None if trace is _compat.EAGER else trace._weakref
        self.gradient = False  # made by a px differentiation, and no model to train
        self.orphan = False  # rebuilt by plain JAX inside one of its own traces
        self.constant = False  # made by px.constant
        self.frozen: frozenset[str] | bool = False  # all of it, or these items
        self.pinned: bool | None = None  # trainmode, testmode
        self.auto = False  # an argument of a px differentiation, or derived from one
        self.anatomy: Any = None  # the last Anatomy, if one was made
        self.forced: dict[str, Any] | None = None  # the Specs of a Module that was rebuilt, whatever it holds now

    def at_home(self) -> bool:
        """True where the Module may be read and written without further thought."""
        if self.scope is not here.scope or self.orphan or self.constant:
            return False
        return self.trace is _compat.trace_ref(_compat.current_trace())


class Scope:
    """The body of one px transform while it runs, as what runs inside sees it."""

    __slots__ = ("collected", "kind", "label", "originals", "parent", "trace")

    def __init__(self, kind: str, originals: frozenset[Meta] = frozenset()):
        self.kind = self.label = kind  # the label is what errors call it
        self.parent = here.scope
        self.originals = originals  # differentiated, so reading them here would give a silent zero
        self.trace: Any = None
        # For scan, while_loop, cond and remat: captured Modules the body wrote, with what they held.
        self.collected: dict[int, tuple[Node, Any]] | None = {} if kind in COLLECTING else None


class _Here(threading.local):
    """This thread's innermost scope, and the Modules whose ``__call__`` is running, outermost first."""

    def __init__(self) -> None:
        self.scope: Scope | None = None
        self.calls: list[Node] = []
        self.taps: Any = None  # sees every Module's result
        self.line_by_line = 0  # px.jit runs its functions as they stand while this is not 0


here = _Here()


def body_trace() -> Any:
    """The trace that belongs to the innermost px body; None is eager."""
    return None if here.scope is None else here.scope.trace
