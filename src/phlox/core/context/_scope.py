"""The px scopes of this thread: entered and left, and what may be read and written inside them.

A write is safe when the trace and the scope that a Module was born in are still the current ones. Anything else would
be lost or would leave a tracer behind, and is refused with the cure, unless the scopes in between collect writes.
"""

from __future__ import annotations

import threading
from typing import Any

import jax

from phlox.core import _compat
from phlox.core._errors import CaptureError, StateError
from phlox.core.context._here import GUARDED, Meta, Node, Scope, body_trace, here
from phlox.core.context._trail import path_of, root_of, where
from phlox.core.module._anatomy import examine
from phlox.core.module._arrays import is_array


class Body(Scope):
    """A scope as a ``with`` block around what runs in it."""

    __slots__ = ()

    def __enter__(self) -> Body:
        self.trace = _compat.trace_ref(_compat.current_trace())
        here.scope = self
        if self.kind in GUARDED:
            guard(+1)
        return self

    def __exit__(self, *exc: object) -> None:
        here.scope = self.parent
        if self.kind in GUARDED:
            guard(-1)

    def settle(self) -> list[tuple[Any, int, Any]]:
        """What the body wrote on captured Modules, as (Module, item, value); they get back what they held."""
        found: list[tuple[Any, int, Any]] = []
        for module, before in (self.collected or {}).values():
            slots = examine(module).slots
            for item, (old, (holder, at)) in enumerate(zip(before, slots, strict=True)):
                if holder[at] is not old:
                    found.append((module, item, holder[at]))
                    holder[at] = old
        return found


# --- the checks ------------------------------------------------------------------------------------


def check_read(module: Node) -> None:
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


def check_write(module: Node, what: str, before: list[Any] | None = None) -> None:
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


def collects(module: Node, scope: Scope, before: list[Any] | None) -> bool:
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


def held(module: Node) -> list[Any]:
    """The items a Module holds now, in its layout's order."""
    return examine(module).items()


# --- the read guard --------------------------------------------------------------------------------

_guards = 0
_guard_lock = threading.Lock()


def guard(step: int) -> None:
    """Watch attribute reads of Modules while at least one jit or gradient body runs in any thread."""
    global _guards
    with _guard_lock:
        before, _guards = _guards, _guards + step
        if (before > 0) != (_guards > 0):
            _watch(_guards > 0)


def _watch(on: bool) -> None:
    if on:
        Node.__getattribute__ = _guarded_read
    else:
        del Node.__getattribute__


def _guarded_read(self: Node, name: str) -> Any:
    value = object.__getattribute__(self, name)
    if here.scope is None or name[:2] == "__" or name == "_px":
        return value
    if _holds_arrays(value) and not self._px.at_home():
        check_read(self)
    return value


def _holds_arrays(value: Any) -> bool:
    if isinstance(value, (list, tuple, dict)):
        return any(is_array(v) for v in jax.tree_util.tree_leaves(value, is_leaf=lambda v: isinstance(v, Node)))
    return is_array(value)
