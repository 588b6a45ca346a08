"""Inputs by name to the parameters of a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from phlox.core import OptionError

_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Binding(NamedTuple):
    """Which inputs are passed in order, and which by a parameter's name."""

    order: tuple[str, ...]
    named: tuple[tuple[str, str], ...]
    """Pairs of a parameter and an input."""

    def call(self, function: Callable[..., Any], first: tuple[Any, ...], inputs: dict[str, Any]) -> Any:
        """The function's result for these inputs, behind ``first``."""
        named = {parameter: inputs[name] for parameter, name in self.named}
        return function(*first, *(inputs[name] for name in self.order), **named)


def bound(function: Callable[..., Any], inputs: Sequence[str], where: str, *, skip: int = 0) -> Binding:
    """How inputs are passed: by the parameter of their name where there is one, the others in order.

    Arguments:
        function: the function.
        inputs: their names.
        where: the function that speaks in errors.
        skip: how many parameters come first that are no inputs, such as the model.

    Raises:
        OptionError: more inputs than parameters, or a parameter that is not given.

    >>> bound(lambda x, mask=None: x, ["image", "mask"], "")
    Binding(order=('image',), named=(('mask', 'mask'),))
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())[skip:]
    except (TypeError, ValueError):
        return Binding(tuple(inputs), ())
    by_name = {p.name: p for p in parameters}
    kinds = {p.kind for p in parameters}
    passable = [p for p in parameters if p.kind in _POSITIONAL]
    known = [n for n in inputs if n in by_name and by_name[n].kind not in _VARIABLE]
    rest = [n for n in inputs if n not in known]
    free = [p for p in passable if p.name not in known]
    order, named = _in_order(passable, free, known, rest)
    left = rest[len(free) :]
    if left and inspect.Parameter.VAR_POSITIONAL in kinds and len(order) == len(passable):
        order, left = order + left, []
    if left and inspect.Parameter.VAR_KEYWORD in kinds:
        named, left = [*named, *((n, n) for n in left)], []
    if left:
        raise _unlike(parameters, inputs, f"{', '.join(left)} beside them", where)
    missing = [p.name for p in parameters if p.default is p.empty and p.kind not in _VARIABLE]
    given = {p.name for p, _ in zip(passable, order, strict=False)} | {parameter for parameter, _ in named}
    if lacking := [n for n in missing if n not in given]:
        raise _unlike(parameters, inputs, f"no {', '.join(lacking)}", where)
    return Binding(tuple(order), tuple(named))


def _in_order(passable: list[Any], free: list[Any], known: list[str], rest: list[str]) -> tuple[list[str], Any]:
    """Inputs in the order of the parameters as far as each of them has one; those behind a gap by name."""
    filled = dict(zip((p.name for p in free), rest, strict=False)) | {n: n for n in known}
    order: list[str] = []
    for p in passable:
        if p.name not in filled or (p.name == filled[p.name] and p.kind == p.POSITIONAL_OR_KEYWORD):
            break
        order.append(filled.pop(p.name))
    return order, list(filled.items())


def _unlike(parameters: list[Any], inputs: Sequence[str], got: str, where: str) -> OptionError:
    names = ", ".join(str(p) for p in parameters) or "nothing"
    return OptionError(
        f"inputs for the parameters ({names})", got=f"{', '.join(inputs)}: {got}",
        fix="give one input for each parameter that has no default, by its name or in order", where=where,
    )  # fmt: skip
