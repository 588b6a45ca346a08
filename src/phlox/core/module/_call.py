"""A Module as it is called: errors get the path, and reads and writes that would be lost are refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from phlox.core import _compat
from phlox.core._errors import StateError, StructureError
from phlox.core.context._dtypes import cast_output
from phlox.core.context._frames import variable_of
from phlox.core.context._here import Node, body_trace, here
from phlox.core.context._outlives import may_be_reused, outside
from phlox.core.context._scope import check_read, check_write, held
from phlox.core.context._trail import locate
from phlox.core.context._warning import warn_once
from phlox.core.elsewhere._options import explained, of_this_library
from phlox.core.module._anatomy import Anatomy, examine
from phlox.core.module._arrays import displayed, is_array


def traced_call(call: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``__call__``: errors get the path, and reads and writes that would be lost are refused."""

    @functools.wraps(call)
    def __call__(self: Node, *args: Any, **kwargs: Any) -> Any:
        calls = here.calls
        if calls and calls[-1] is self:  # super().__call__
            return call(self, *args, **kwargs)
        meta = self._px
        calls.append(self)
        try:
            before = None if meta.at_home() else _enter_away(self)
            y = call(self, *args, **kwargs)
            if before is not None:
                _leave_away(self, before)
            if here.taps is not None:
                y = here.taps(self, y)
            return y if len(calls) > 1 else cast_output(y)
        except Exception as error:
            told = _about_arguments(self, call, args, kwargs, error)
            better = locate(told)
            if better is not None:
                raise better from error
            if told is not error:
                raise told from None
            raise
        finally:
            calls.pop()

    return __call__


def _about_arguments(
    module: Node, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> Exception:
    """A TypeError of a call whose arguments do not fit, as one that says which do; any other error as it is."""
    if not isinstance(error, TypeError) or not of_this_library(type(module)):
        return error
    return explained(call, type(module).__name__, (module, *args), kwargs, error) or error


def misnamed(name: str, elsewhere: str) -> Callable[..., Any]:
    """The ``__call__`` of a class whose forward pass has the name that another library gives it."""

    def __call__(self: Node, *args: Any, **kwargs: Any) -> Any:
        del self, args, kwargs
        got, fix = f"{elsewhere} alone", f"rename {elsewhere} to __call__"
        raise StructureError("__call__ for its forward pass", got=got, fix=fix, where=name, located=True)

    return __call__


def _enter_away(module: Node) -> list[Any] | None:
    """Checks for a Module called outside the place it was born in; returns what its containers hold."""
    if here.scope is not module._px.scope:
        check_read(module)
    _warn_frozen_capture(module)
    return held(module) if examine(module).snaps else None


def _leave_away(module: Node, before: list[Any]) -> None:
    """Refuse writes into lists and dicts, which pass by ``__setattr__``."""
    anatomy = examine(module)
    for path, old, new in zip(anatomy.layout.paths, before, anatomy.items(), strict=False):
        if old is not new and is_array(new):
            try:
                check_write(module, displayed(path).lstrip("."), before)
            except StateError:
                _restore(anatomy, before)  # no tracer stays behind
                raise


def _restore(anatomy: Anatomy, items: list[Any]) -> None:
    for (holder, at), item in zip(anatomy.slots, items, strict=True):
        holder[at] = item


def _warn_frozen_capture(module: Node) -> None:
    if not _frozen_here(module) or any(m is not module and _frozen_here(m) for m in here.calls):
        return  # the outermost that is captured speaks for its parts
    if not may_be_reused():
        return
    name, at = variable_of(module) or "model", outside()
    line = "" if at is None else f"{at.f_code.co_filename}:{at.f_lineno}"
    warn_once(
        f"capture {name} {type(module).__name__} {line}",
        f"{name} ({module._brief()}) is captured by a plain JAX transform that caches what it traces (jit, scan, "
        f"cond, checkpoint): later changes of its weights may not be seen. Pass it as an argument, or use the px "
        "transform of the same name.",
    )


def _frozen_here(module: Node) -> bool:
    """True for a Module from outside all traces whose weights become constants of one that plain JAX records."""
    meta = module._px
    if meta.constant or meta.orphan or meta.trace is not None:
        return False
    return _compat.records_inside(body_trace())
