"""Which layers of a model are meant: by paths, patterns or predicates."""

from __future__ import annotations

from typing import Any

from phlox.adapt.layers._adapted import Adapted
from phlox.core import Module, RangeError, StructureError, Where, chosen_paths, describe, modules


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
    layers = layers_of(model)
    plain = {path: bare(layer) for path, layer in layers.items()}
    able = [path for path, layer in plain.items() if isinstance(layer, kinds)]
    what = " or ".join(kind.__name__ for kind in kinds)
    return {path: layers[path] for path in chosen_paths(choice, able, plain, what, where)}
