"""What JAX refuses to do with a traced value, said in the user's words: which function, line, argument, and the cure.

The exception stays JAX's own, so that ``except`` clauses catch it; its message begins with ours.
"""

from __future__ import annotations

import linecache
import re
import types
from collections import deque
from collections.abc import Sequence
from typing import Any

import jax

from phlox.core import _compat
from phlox.core._errors import StructureError
from phlox.core.context._here import DIFFERENTIATING, here
from phlox.core.transforms._names import Called, file_name, internal, name_of

REFUSALS = (
    jax.errors.ConcretizationTypeError,  # float, int, item, tolist; and, derived from it, bool
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.UnexpectedTracerError,
)

_FIX = "\n  fix: "  # no message of JAX's has it, so it tells whether ours is there already
_SHOWN = 4  # arguments named before "and 7 more"


def explain(error: BaseException, call: Called) -> None:
    """Put where, expected, got and fix before the message of an error that JAX raised in the body of a call."""
    message = str(error)
    if _FIX in message:
        return
    eager = _compat.python_control_flow()
    leaked = isinstance(error, jax.errors.UnexpectedTracerError)
    if not leaked and not eager and call.kind in DIFFERENTIATING:
        return  # what traces around the gradient is to blame, and will be passed next
    expected, got, fix = _leak(message) if leaked else _conversion(error, message, eager)
    text = f"px.{call.label}({name_of(call.fn)}) expects {expected}, got {got}{_line(error)}{_FIX}{fix}"
    error.args = (f"{text}\n\nJAX says: {_shortened(message)}",)


def _conversion(error: BaseException, message: str, eager: bool) -> tuple[str, str, str]:
    expected, do = _what(error)
    got = _aval(message) + _of_arguments(_arguments(message))
    if eager:
        return f"{expected}, so that the gradient is not lost", got, _eager_fix(error)
    return expected, got, f"{do}; or {_away(message)}"


def _what(error: BaseException) -> tuple[str, str]:
    """What is expected, and what to write instead."""
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return (
            "an if, while, and, or, not, assert on values that are known while it is traced",
            (
                "write jnp.where(condition, a, b) or px.cond(condition, f, g) for if, px.while_loop for while, & | ~ "
                "for and or not"
            ),
        )
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return "jnp functions on traced arrays", "write jnp for np, or call NumPy through jax.pure_callback"
    if isinstance(error, jax.errors.TracerIntegerConversionError):
        return (
            "range, shapes, list positions of numbers that are known while it is traced",
            (
                "write px.scan or px.while_loop for the loop and jnp.take for the position, or name the argument in "
                "static_argnames"
            ),
        )
    if isinstance(error, jax.errors.NonConcreteBooleanIndexError):
        return (
            "arrays whose shape is known while it is traced",
            "write jnp.where(mask, x, other) for x[mask], x * mask inside a sum, or jnp.nonzero(mask, size=n)",
        )
    return (
        "float, int, .item() and .tolist() of values that are known while it is traced",
        "keep it an array (x.astype(float)), print it with jax.debug.print, or return it and convert it outside",
    )


def _eager_fix(error: BaseException) -> str:
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return "write jnp for np in what is differentiated; px.value(x) is the array itself, to print, plot and record"
    return "compute the loss with jnp; px.value(x) is the number itself, without a gradient, to print, plot and record"


def _leak(message: str) -> tuple[str, str, str]:
    found = re.search(r"value leaked was (.+?) traced for ", message)
    who = f" of {found[1]}" if found else ""
    return (
        "values of this call",
        f"one that was kept from the trace of another{who}" + _of_arguments(_arguments(message)),
        (
            "return the value from the function that made it, and keep the result; in an eager gradient px.value(x) is "
            "what may be kept"
        ),
    )


# --- what JAX's message tells -----------------------------------------------------------------------

_DEPENDS = re.compile(r"depends on the values? of the arguments? (.+?)\.(?=\s|$)")
_TRACED_FOR = re.compile(r"while tracing the function .+? for (.+?)\. ")
_OF_JAX = {"scan": "px.scan", "cond": "px.cond", "while_body": "px.while_loop", "while_cond": "px.while_loop"}


def _aval(message: str) -> str:
    found = re.search(r"(?:with shape |got )(\w+\[[^\]]*\])", message)
    return found[1] if found else "a traced value"


def _arguments(message: str) -> list[str]:
    found = _DEPENDS.search(message)
    if not found:
        return []
    return [n for n in re.split(r", and | and |, ", found[1]) if n]


def _of_arguments(names: list[str]) -> str:
    if not names:
        return ""
    shown, more = names[:_SHOWN], len(names) - _SHOWN
    if more > 0:
        return f" that depends on {', '.join(shown)} and {more} more"
    return " that depends on " + (", ".join(shown[:-1]) + " and " + shown[-1] if len(shown) > 1 else shown[0])


def _shortened(message: str) -> str:
    """JAX's message, in which a large model's arguments are not all told a second time."""
    names = _arguments(message)
    if len(names) <= _SHOWN:
        return message
    return _DEPENDS.sub(f"depends on the values of the arguments {', '.join(names[:_SHOWN])}, ….", message, count=1)


# --- where, and how to get rid of the trace ------------------------------------------------------------


def _line(error: BaseException) -> str:
    """The innermost line of the user's on the way to the error."""
    found: Any = None
    at = error.__traceback__
    while at is not None:
        if not internal(at.tb_frame):
            found = at
        at = at.tb_next
    if found is None:
        return ""
    code = found.tb_frame.f_code
    source = linecache.getline(code.co_filename, found.tb_lineno, found.tb_frame.f_globals).strip()
    at_line = f"\n  at {file_name(code.co_filename)}:{found.tb_lineno} in {code.co_name}"
    return at_line + (f": {source}" if source else "")


def _away(message: str) -> str:
    """What to take away so that the code runs line by line."""
    found = _TRACED_FOR.search(message)
    if found and found[1] in _OF_JAX:
        return f"write {_OF_JAX[found[1]]} for JAX's own, and take {_tracers() or 'the transform'} away to debug"
    return f"take {_tracers() or 'the JAX transform around it'} away, and it runs line by line"


def _tracers() -> str:
    """The px transforms around this place that trace also where nothing else does, innermost first."""
    names: list[str] = []
    scope = here.scope
    while scope is not None:
        name = f"px.{scope.label}"
        if scope.kind in ("jit", "vmap", "remat", "eval_shape") and name not in names:
            names.append(name)
        scope = scope.parent
    return " and ".join(names)


# --- what a function may not return -----------------------------------------------------------------

_LAZY = (types.GeneratorType, map, filter, zip)


def refuse_hidden(values: Sequence[Any], call: Called) -> None:
    """Raise where a static part of a result hides a traced array, which would come out as one of a finished trace."""
    for value in values:
        if isinstance(value, _LAZY):
            raise StructureError(
                "results whose parts are there when the function ends",
                got=f"a {type(value).__name__}, which runs later",
                fix="return list(...) of it",
                where=f"px.{call.label}({name_of(call.fn)})",
            )
        path = _hidden(value)
        if path is not None:
            raise StructureError(
                "results in containers that JAX can see into",
                got=f"a {type(value).__name__} that holds a traced array at {path}",
                fix="return a tuple, dict or px.Module, or register the class with jax.tree_util.register_dataclass",
                where=f"px.{call.label}({name_of(call.fn)})",
            )


def _hidden(value: Any) -> str | None:
    """The way to a tracer inside an object: by attributes, three levels deep."""
    queue: list[tuple[str, Any]] = [("", value)]
    for path, at in queue:
        if isinstance(at, _compat.Tracer):
            return path
        if path.count(".") + path.count("[") < 3 and not isinstance(at, (str, bytes, type, types.FunctionType)):
            queue += [(f"{path}[{k!r}]", v) for k, v in at.items()] if isinstance(at, dict) else []
            queue += [(f"{path}[{i}]", v) for i, v in enumerate(at)] if isinstance(at, (list, tuple, deque)) else []
            queue += [(f"{path}.{k}", v) for k, v in getattr(at, "__dict__", {}).items()]
            queue += [(f"{path}.{k}", getattr(at, k)) for k in getattr(type(at), "__slots__", ()) if hasattr(at, k)]
        if len(queue) > 1000:
            return None
    return None
