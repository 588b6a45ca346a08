"""Where code runs: the stack of px scopes of this thread, and what may be read and written there.

Each Module remembers the trace and the scope it was born in (its ``Meta``, no part of the tree). A
write is safe when both are still the current ones. Anything else would be lost or would leave a
tracer behind, and is refused with the cure, unless the scopes in between collect writes.
"""

from __future__ import annotations

import itertools
import threading
import warnings
from typing import TYPE_CHECKING, Any

from phlox.core import _compat
from phlox.core._errors import CaptureError, StateError
from phlox.core.context._outlives import level

if TYPE_CHECKING:
    from phlox.core.module._layout import Anatomy, Spec
    from phlox.core.module._module import Module

_uids = itertools.count()


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
        self.anatomy: Anatomy | None = None
        self.forced: dict[str, Spec] | None = None

    def at_home(self) -> bool:
        """True where the Module may be read and written without further thought."""
        if self.scope is not here.scope or self.orphan or self.constant:
            return False
        return self.trace is _compat.trace_ref(_compat.current_trace())


class Scope:
    """The body of one px transform while it runs."""

    __slots__ = ("collected", "constants", "kind", "label", "originals", "parent", "trace")

    def __init__(self, kind: str, originals: frozenset[Meta] = frozenset()):
        self.kind = self.label = kind  # the label is what errors call it
        self.parent = here.scope
        self.originals = originals  # differentiated, so reading them here would give a silent zero
        self.trace: Any = None
        # For scan, while_loop, cond and remat: captured Modules the body wrote, with what they held.
        self.collected: dict[int, tuple[Module, Any]] | None = {} if kind in COLLECTING else None

    def __enter__(self) -> Scope:
        self.trace = _compat.trace_ref(_compat.current_trace())
        here.scope = self
        if self.kind in GUARDED:
            guard(+1)
        return self

    def __exit__(self, *exc: object) -> None:
        here.scope = self.parent
        if self.kind in GUARDED:
            guard(-1)

    def settle(self) -> list[tuple[Module, int, Any]]:
        """What the body wrote on captured Modules, as (Module, item, value); they get back what they held."""
        from phlox.core.module._module import examine

        found: list[tuple[Module, int, Any]] = []
        for module, before in (self.collected or {}).values():
            slots = examine(module).slots
            for item, (old, (holder, at)) in enumerate(zip(before, slots, strict=True)):
                if holder[at] is not old:
                    found.append((module, item, holder[at]))
                    holder[at] = old
        return found


COLLECTING = frozenset({"scan", "while_loop", "cond", "remat"})
DIFFERENTIATING = frozenset({"grad", "vjp", "jvp", "jacobian", "hessian", "hvp"})
GUARDED = DIFFERENTIATING | {"jit"}


class _Here(threading.local):
    """This thread's innermost scope, and the Modules whose ``__call__`` is running, outermost first."""

    def __init__(self) -> None:
        self.scope: Scope | None = None
        self.calls: list[Module] = []
        self.taps: Any = None  # sees every Module's result
        self.line_by_line = 0  # px.jit runs its functions as they stand while this is not 0


here = _Here()


# --- the read guard --------------------------------------------------------------------------------

_guards = 0
_guard_lock = threading.Lock()
_install: Any = None


def on_guard(install: Any) -> None:
    """Set how the read guard is put on and taken off the Module class."""
    global _install
    _install = install


def guard(step: int) -> None:
    """Watch attribute reads of Modules while at least one jit or gradient body runs in any thread."""
    global _guards
    with _guard_lock:
        before, _guards = _guards, _guards + step
        if (before > 0) != (_guards > 0):
            _install(_guards > 0)


def body_trace() -> Any:
    """The trace that belongs to the innermost px body; None is eager."""
    return None if here.scope is None else here.scope.trace


# --- the checks ------------------------------------------------------------------------------------


def check_read(module: Module) -> None:
    """Raise where reading this Module's arrays would freeze them or lose their gradient."""
    meta: Meta = module._px
    scope, home = here.scope, meta.scope
    if meta.constant:
        return
    while scope is not None and scope is not home:
        if meta in scope.originals:
            raise CaptureError(
                f"to be read through the argument of the px.{scope.kind} function",
                got="a read of the original, whose gradient would be silently zero",
                fix=f"inside the function use its own argument in place of {root_of(module)}; another "
                "Module that shares this part must be an argument too",
                where=where(module),
                located=True,
            )
        if scope.kind == "jit" and not _born_within(home, scope):
            raise CaptureError(
                "to be an argument of the px.jit function that reads it",
                got="a read from outside, which would freeze its weights into the compiled code",
                fix=f"pass {root_of(module)} as an argument, or capture px.constant({root_of(module)}) if it is meant",
                where=where(module),
                located=True,
            )
        scope = scope.parent


def _born_within(home: Scope | None, scope: Scope) -> bool:
    """True where a Module's own scope lies in another, though it may have ended: a backward pass runs after it."""
    while home is not None and home is not scope:
        home = home.parent
    return home is scope


def check_write(module: Module, what: str, before: list[Any] | None = None) -> None:
    """Raise where writing ``what`` on this Module would be lost or would leave a tracer in it.

    ``before`` is what the Module held, where the write (into a list or dict) has already happened.
    """
    meta: Meta = module._px
    name, root = f"{path_of(module)}.{what}".rstrip("."), root_of(module)
    if meta.constant:
        raise StateError(
            "no writes, because px.constant made it",
            got=f"a write to {name}",
            fix="write to the model that px.constant copied, and make the constant anew",
            where=where(module),
            located=True,
        )
    if meta.orphan:
        raise StateError(
            "its State to be written inside px transforms",
            got=f"a write to {name} in a copy that a plain JAX transform made, where it would be lost",
            fix="use px.jit, px.grad, px.vmap, px.scan, … in place of the jax one, or px.apply on the pure view",
            where=where(module),
            located=True,
        )
    scope, home = here.scope, meta.scope
    if scope is home or (scope is not None and collects(module, scope, before)):
        expected = meta.trace if scope is home else body_trace()
        if expected is _compat.trace_ref(_compat.current_trace()):
            return
        raise StateError(
            "its State to be written inside px transforms",
            got=f"a write to {name} from a plain JAX transform that captured it, which would leave a tracer in it",
            fix=f"use the px transform of the same name, and pass {root} as an argument",
            where=where(module),
            located=True,
        )
    kind = scope.kind if scope is not None else "transform"
    raise StateError(
        f"to be an argument of the px.{kind} function that writes its State",
        got=f"a write to {name}, captured from outside",
        fix=f"pass {root} as an argument" + _AS_ARGUMENT.get(kind, "").format(root),
        where=where(module),
        located=True,
    )


_AS_ARGUMENT = {
    "grad": ": px.grad(lambda x, {0}: …)(x, {0})",
    "jit": ": px.jit(lambda x, {0}: …)(x, {0})",
    "vmap": ": px.vmap(lambda x, {0}: …, in_axes=(0, None))(x, {0})",
}


def collects(module: Module, scope: Scope, before: list[Any] | None) -> bool:
    """True where every scope from here out to the Module's own collects captured writes; note it there."""
    home = module._px.scope
    at: Scope | None = scope
    while at is not home:
        if at is None or at.collected is None:
            return False
        at = at.parent
    assert scope.collected is not None
    if module._px.uid not in scope.collected:
        scope.collected[module._px.uid] = (module, held(module) if before is None else before)
    return True


def held(module: Module) -> list[Any]:
    """The items a Module holds now, in its layout's order."""
    from phlox.core.module._module import examine

    return examine(module).items()


_warned: set[str] = set()


def warn_once(place: str, message: str) -> None:
    """Warn once per place, so that a loop does not repeat itself; at the line of the user's that led there."""
    if place not in _warned:
        _warned.add(place)
        warnings.warn(message, stacklevel=level())


# Names for errors; _trail finds them in the callers' frames.
def label(module: Module) -> str:
    """The Module as its user wrote it, on one line."""
    return module._brief()


def path_of(module: Module) -> str:
    """The path from the variable that holds the root, such as ``model.layers[2]``."""
    from phlox.core.context import _trail

    return _trail.path_of(module)


def root_of(module: Module) -> str:
    """The variable at the root of the path, where a caller's frame has one, else ``model``."""
    return path_of(module).partition(".")[0].partition("[")[0]


def where(module: Module) -> str:
    """Path and label, for the first part of an error."""
    return f"{path_of(module)} {label(module)}"
