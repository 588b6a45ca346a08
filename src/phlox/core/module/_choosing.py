"""Which layers of a model are meant, by paths, patterns or predicates; and others put in their place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from phlox.core._errors import RangeError, StructureError
from phlox.core.module._module import Module
from phlox.core.module._paths import means
from phlox.core.module._tree import modules

M = TypeVar("M", bound=Module)
Where = str | Iterable[str] | Callable[[str, Any], bool]
"""A path or pattern of layers, ``"**.q_proj"``; several of them; or a predicate (path, layer)."""


def chosen_paths(
    choice: Where, able: Iterable[str], layers: Mapping[str, Any], what: str, where: str, option: str = "where"
) -> list[str]:
    """The paths among ``able`` that a choice means, in their order; in a pattern ``**.`` stands for nothing too.

    Arguments:
        choice: what the user said.
        able: the paths of layers that may be meant.
        layers: all layers by path, those among them.
        what: how a layer that may be meant is called.
        where, option: the function that speaks in errors, and what the argument is called there.

    Raises:
        RangeError: a choice, or one of several, that means no such layer.
    """
    able = list(able)
    meant: set[str] = set()
    for one in _one_by_one(choice, where, option):
        some = {path for path in able if _means(one, path, layers[path])}
        if not some:
            raise _nothing(one, able, layers, what, where, option)
        meant |= some
    return [path for path in able if path in meant]


def _one_by_one(choice: Where, where: str, option: str) -> list[Any]:
    if isinstance(choice, str) or callable(choice):
        return [choice]
    parts = list(choice) if isinstance(choice, Iterable) else []
    if not parts or not all(isinstance(part, str) or callable(part) for part in parts):
        fix = f'name layers as {option}="**.q_proj", or by a function (path, layer)'
        raise RangeError("paths, patterns or a predicate", got=repr(choice)[:100], fix=fix, where=where)
    return parts


def _means(choice: Any, path: str, layer: Any) -> bool:
    return means(choice, path, layer) or (isinstance(choice, str) and means(choice, f".{path}", layer))


def _nothing(choice: Any, able: list[str], layers: Mapping[str, Any], what: str, where: str, option: str) -> RangeError:
    """What to say where a choice means no such layer."""
    text = choice if isinstance(choice, str) else getattr(choice, "__name__", repr(choice))
    other = next((path for path, layer in layers.items() if path and _means(choice, path, layer)), None)
    got = repr(text) if other is None else f"{text!r}, which means no such layer, but {other}"
    ends = list(dict.fromkeys(path.rpartition(".")[2] for path in able))
    close = difflib.get_close_matches(text.rpartition(".")[2], ends, 3, 0.5) or ends[:6]
    fix = "choose among " + ", ".join(f'"**.{end}"' for end in close) if close else f"the model has no {what}"
    return RangeError(f"{option}= to mean a {what} of the model", got=got[:200], fix=fix, where=where)


def replaced(model: M, fresh: Mapping[int, Module], where: str) -> M:
    """A model with others in the place of some of its parts, wherever they stand; in place, but for the root.

    Arguments:
        model: the model.
        fresh: by the id of a part, what comes in its place.
        where: the function that speaks in errors.

    Raises:
        StructureError: a part that stands in no attribute, list, tuple or dict; nothing is changed then.
    """
    changes: list[tuple[Module, str, Any]] = []
    found: set[int] = set()
    for holder in modules(model).values():
        for attribute, value in vars(holder).items():
            other = _other(value, fresh, found)
            if other is not value:
                changes.append((holder, attribute, other))
    root: Any = _other(model, fresh, found)
    if lost := set(fresh) - found:
        path = next(path for path, part in modules(model).items() if id(part) in lost)
        fix = "hold it as an attribute, or in a list, tuple or dict"
        raise StructureError("layers that can be replaced", got=path, fix=fix, where=where)
    for holder, attribute, other in changes:
        setattr(holder, attribute, other)
    return root


def _other(value: Any, fresh: Mapping[int, Module], found: set[int]) -> Any:
    """A value with the parts in it replaced; itself where there are none."""
    if id(value) in fresh:
        found.add(id(value))
        return fresh[id(value)]
    if type(value) is dict:
        parts = {key: _other(one, fresh, found) for key, one in value.items()}
        return parts if any(parts[key] is not one for key, one in value.items()) else value
    if isinstance(value, list | tuple):
        items = [_other(one, fresh, found) for one in value]
        if all(a is b for a, b in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
