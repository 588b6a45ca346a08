"""Arguments that a function or class does not have: an error that says what to type, at no cost to a good call.

A call that fails to fit its signature is looked at once it has failed. The table of what other libraries call
things (``_options_elsewhere``) and the signature itself then give the cure. An option that was passed on, from
``LSTM(**options)`` to ``LSTMCell``, is blamed on what the user called.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from difflib import get_close_matches
from types import FunctionType
from typing import Any, TypeVar

from phlox.core._errors import OptionError, describe

F = TypeVar("F", bound=Callable[..., Any])

_ROOT = __name__.partition(".")[0] + "."
_CHOOSE = "choose among its arguments"
_LAYER_WORDS = ("Callable", "Activation", "Init", "Build")  # in the annotation of what must be a function


def answering(fn: F) -> F:
    """Let a function of this library answer a call that does not fit its signature with an ``OptionError``."""

    def answered(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except TypeError as error:
            better = explain(fn, name, args, kwargs, error)
            if better is None:
                raise
        better.located = True  # the function says more than the Module that calls it
        raise better

    name, explain = fn.__qualname__.removesuffix(".__init__"), explained
    return _in_place_of(answered, fn)


def answering_init(cls: type, init: F) -> F:
    """The same for the constructor of a class; a subclass that inherits it is called by its own name."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            return init(self, *args, **kwargs)
        except TypeError as error:
            name = type(self).__name__ if type(self).__init__ is cls.__init__ else cls.__name__
            better = explain(init, name, (self, *args), kwargs, error)
            if better is None:
                raise
        raise better

    explain = explained
    return _in_place_of(__init__, init)


def _in_place_of(wrapper: Any, fn: Any) -> Any:
    """The wrapper with the name, the documentation and the home of what it wraps.

    It also gets its globals, by which doctest knows the functions of a file; its own names are all closed over.
    """
    made = FunctionType(
        wrapper.__code__, getattr(inspect.unwrap(fn), "__globals__", {}), fn.__name__, None, wrapper.__closure__
    )
    made.__module__, made.__qualname__, made.__doc__ = fn.__module__, fn.__qualname__, fn.__doc__
    made.__dict__.update(getattr(fn, "__dict__", {}))
    made.__annotations__ = getattr(fn, "__annotations__", {})
    made.__wrapped__ = fn  # type: ignore[attr-defined]
    return made


def of_this_library(thing: Any) -> bool:
    """Whether a class or function is defined here, and its arguments therefore follow our conventions."""
    return str(getattr(thing, "__module__", "")).startswith(_ROOT)


def explained(
    fn: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], error: TypeError
) -> OptionError | None:
    """What to raise in place of a TypeError; None where the call fits and the error is about something else."""
    signature = inspect.signature(fn)
    shown = [p for p in signature.parameters.values() if p.name != "self"]
    if isinstance(error, OptionError):
        passed_on = error.option in kwargs and error.option not in signature.parameters
        return _unknown(name, shown, error.option, kwargs[error.option], error) if passed_on else None
    named = {p.name for p in shown if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in shown)
    unknown = [] if open_ended else [k for k in kwargs if k not in named]
    if unknown:
        return _unknown(name, shown, unknown[0], kwargs[unknown[0]])
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError:
        return _too_many_or_few(name, shown, args[len(signature.parameters) - len(shown) :], kwargs)
    return _no_function(name, shown, given)


def _unknown(name: str, shown: list[Any], option: str, value: Any, inner: OptionError | None = None) -> OptionError:
    from phlox.core.elsewhere._arguments import LEFT_OUT, RENAMED

    own = [p.name for p in shown if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    ours = [n for n in RENAMED.get(option, ()) if n in own]
    plain = next((n for n in own if n.replace("_", "") == option.replace("_", "").lower()), None)
    close = get_close_matches(option, own, 1, 0.75)
    if ours:
        fix = f"write {' and '.join(f'{n}=' for n in ours[:1])} for {option}="
    elif option in LEFT_OUT and (inner is None or inner.fix == LEFT_OUT[option]):
        fix = LEFT_OUT[option]
    elif plain or close:
        fix = f"write {plain or close[0]}="
    elif inner is None:
        fix = _CHOOSE
    elif inner.fix == _CHOOSE:
        fix = (
            f"{_CHOOSE}, or among those of {inner.where}, which gets the rest: {inner.expected.partition(' among ')[2]}"
        )
    else:
        fix = inner.fix or _CHOOSE
    error = OptionError(f"arguments among {_form(shown)}", got=f"{option}={describe(value)}", fix=fix, where=name)
    error.option = option
    return error


def _form(shown: list[Any]) -> str:
    """The parameters as a call spells them: ``(in_size, out_size, act; bias, init, key)``."""
    before = [p.name for p in shown if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    before += [f"*{p.name}" for p in shown if p.kind is p.VAR_POSITIONAL]
    behind = [f"{p.name}=" for p in shown if p.kind is p.KEYWORD_ONLY]
    behind += [f"**{p.name}" for p in shown if p.kind is p.VAR_KEYWORD]
    return f"({', '.join([*before, *behind])})"


def _too_many_or_few(name: str, shown: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> OptionError:
    places = [p for p in shown if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    twice = [p.name for p in places[: len(args)] if p.name in kwargs]
    needed = [p.name for p in shown if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    behind = [p.name for p in places[len(args) :]]
    missing = [n for n in needed if n not in kwargs and n in [*behind, *(p.name for p in shown if p not in places)]]
    if twice:
        got, fix = f"{twice[0]} twice, by place and by name", f"give {twice[0]} once"
    elif missing:
        from phlox.core.elsewhere._arguments import MISSING

        got = f"no {' and no '.join(missing)}"
        fix = MISSING.get(missing[0], MISSING.get(places[0].name if places else "", f"give {missing[0]}"))
    else:
        got = f"{len(args)} arguments by place"
        fix = f"write what follows the {len(places)} by keyword" if places else "write all arguments by keyword"
    return OptionError(f"arguments {_form(shown)}", got=got, fix=fix, where=name)


def _no_function(name: str, shown: list[Any], given: dict[str, Any]) -> OptionError | None:
    """An argument that must be a function and is a name or a number, found after it failed."""
    for p in shown:
        value = given.get(p.name)
        if isinstance(value, (str, int, float)) and _takes_functions_alone(p):
            fix = f"write the function, such as {_example(p)}"
            return OptionError(f"{p.name} to be a function", got=repr(value), fix=fix, where=name)
    return None


def _takes_functions_alone(parameter: Any) -> bool:
    annotation = re.sub(r"\[.*\]", "", str(parameter.annotation))  # the outermost types alone
    return any(w in annotation for w in _LAYER_WORDS) and not any(w in annotation for w in ("str", "float", "int"))


def _example(parameter: Any) -> str:
    from phlox.core.elsewhere._unknown import spelled

    own = getattr(parameter.default, "__name__", None) or repr(parameter.default)
    return spelled(own) or "px.relu"
