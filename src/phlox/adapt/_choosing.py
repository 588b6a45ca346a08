"""Which layers of a model are meant: by paths, patterns or predicates."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from phlox.adapt.layers._adapted import Adapted
from phlox.core import Module, RangeError, StructureError, describe, means, modules

Where = str | Iterable[str] | Callable[[str, Any], bool]
"""A path or pattern of layers, ``"**.q_proj"``; several of them; or a predicate (path, layer)."""


def check_model(model: Any, where: str) -> None:
    """Refuse what is no model.

    Raises:
        StructureError: no Module.
    """
    if not isinstance(model, Module):
        raise StructureError("a model", got=describe(model), fix="pass a px.Module", where=where)


def check_name(name: Any, where: str) -> str:
    """The name of an adapter, which becomes a step of paths.

    Raises:
        RangeError: no text, or one with a dot.
    """
    if not isinstance(name, str) or not name or "." in name:
        fix = 'choose a word, such as "default"'
        raise RangeError("a name without dots", got=repr(name)[:100], fix=fix, where=where)
    return name


def layers_of(model: Module) -> dict[str, Module]:
    """Every layer by the path that it has without adapters; one with adapters stands for the layer in it."""
    found: dict[str, Module] = {}
    wrapped: dict[str, Adapted] = {}
    for path, layer in modules(model).items():
        plain = _without_adapters(path, wrapped)
        if plain is not None:
            found[plain] = layer
            if isinstance(layer, Adapted):
                wrapped[path] = layer
    return found


def _without_adapters(path: str, wrapped: dict[str, Adapted]) -> str | None:
    """A path as it is without adapters; None where nothing would stand there."""
    plain: list[str] = []
    steps = path.split(".") if path else []
    for i, step in enumerate(steps):
        above = wrapped.get(".".join(steps[:i]))
        if above is None:
            plain.append(step)
        elif step != "layer" or i == len(steps) - 1 or not above.opens:
            return None
    return ".".join(plain)


def bare(layer: Any) -> Any:
    """The layer within its adapters."""
    return layer.layer if isinstance(layer, Adapted) else layer


def chosen(model: Module, choice: Where, kinds: tuple[type, ...], where: str) -> dict[str, Module]:
    """The layers of some kinds that a choice means, by path, those with adapters as they are.

    Raises:
        RangeError: a choice, or one of several, that means no such layer.
    """
    able = {path: layer for path, layer in layers_of(model).items() if isinstance(bare(layer), kinds)}
    meant: set[str] = set()
    for one in _one_by_one(choice, where):
        some = {path for path, layer in able.items() if _means(one, path, bare(layer))}
        if not some:
            raise _nothing(one, model, list(able), kinds, where)
        meant |= some
    return {path: layer for path, layer in able.items() if path in meant}


def _one_by_one(choice: Where, where: str) -> list[Any]:
    if isinstance(choice, str) or callable(choice):
        return [choice]
    parts = list(choice) if isinstance(choice, Iterable) else []
    if not parts or not all(isinstance(part, str) or callable(part) for part in parts):
        fix = 'name layers as where="**.q_proj", or by a function (path, layer)'
        raise RangeError("paths, patterns or a predicate", got=repr(choice)[:100], fix=fix, where=where)
    return parts


def _means(choice: Any, path: str, layer: Any) -> bool:
    """True where a choice means a layer; in a pattern ``**.`` stands for nothing too."""
    return means(choice, path, layer) or (isinstance(choice, str) and means(choice, f".{path}", layer))


def _nothing(choice: Any, model: Module, able: list[str], kinds: tuple[type, ...], where: str) -> RangeError:
    """What to say where a choice means no layer that can have the adapter."""
    what = " or ".join(kind.__name__ for kind in kinds)
    text = choice if isinstance(choice, str) else getattr(choice, "__name__", repr(choice))
    other = next((p for p, layer in layers_of(model).items() if p and _means(choice, p, bare(layer))), None)
    got = repr(text) if other is None else f"{text!r}, which means no such layer, but {other}"
    ends = list(dict.fromkeys(path.rpartition(".")[2] for path in able))
    close = difflib.get_close_matches(text.rpartition(".")[2], ends, 3, 0.5) or ends[:6]
    fix = "choose among " + ", ".join(f'"**.{end}"' for end in close) if close else f"the model has no {what}"
    return RangeError(f"where= to mean a {what} of the model", got=got[:200], fix=fix, where=where)
