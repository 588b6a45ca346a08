"""Adapters put into a model, in place: layers get a wrapper, what was there is frozen, what is new trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from phlox.adapt._choosing import layers_of
from phlox.adapt.layers._adapted import Adapted
from phlox.adapt.layers._embedding import AdaptedEmbedding
from phlox.adapt.layers._linear import AdaptedConv, AdaptedDense
from phlox.adapt.layers._prefix import AdaptedAttention
from phlox.adapt.layers._whole import AdaptedWhole, Trained
from phlox.core import Module, StructureError, freeze, replaced, thaw
from phlox.nn import Conv, Dense, Embedding, MultiHeadAttention

M = TypeVar("M", bound=Module)
_WRAPPERS: dict[type, type[Adapted]] = {
    Dense: AdaptedDense, Conv: AdaptedConv, Embedding: AdaptedEmbedding, MultiHeadAttention: AdaptedAttention,
}  # fmt: skip


def wrappers(model: Module) -> dict[str, Adapted]:
    """The layers with adapters, by the paths that they have without."""
    return {path: layer for path, layer in layers_of(model).items() if isinstance(layer, Adapted)}


def names_in(model: Module) -> list[str]:
    """The names of a model's adapters."""
    return list(dict.fromkeys(name for one in wrappers(model).values() for name in one.adapters))


def attach(model: M, name: str, parts: Mapping[str, Module], where: str) -> M:
    """Put an adapter into a model: a part for each path of a layer; it alone is in use then, and it alone trains.

    Raises:
        StructureError: a layer has one of this name, or stands where it can't be replaced, or adapters are merged.
    """
    layers = layers_of(model)
    refuse_while_merged(model, where)
    for path, part in parts.items():
        _check_free(layers[path], part, path, name, where)
    fresh = {path: _wrapped(layers[path], part) for path, part in parts.items()}
    model = replaced(model, {id(layers[path]): wrapper for path, wrapper in fresh.items()}, where)
    freeze(model)
    for path, part in parts.items():
        fresh[path].adapters = {**fresh[path].adapters, name: part}
    put_in_use(model, (name,))
    return model


def _wrapped(layer: Any, part: Module) -> Adapted:
    """A layer's wrapper for a part of an adapter: the one that it has, or a new one."""
    if isinstance(layer, Adapted):
        return layer
    if isinstance(part, Trained):
        return AdaptedWhole(layer)
    return next(wrapper for kind, wrapper in _WRAPPERS.items() if isinstance(layer, kind))(layer)


def _check_free(layer: Any, part: Module, path: str, name: str, where: str) -> None:
    """Refuse a second adapter of one name, and one within a layer that is trained whole."""
    if not isinstance(layer, Adapted):
        return
    if name in layer.adapters:
        fix = "choose another name=, or call px.adapt.remove(model, name) before"
        raise StructureError(f"no adapter {name!r} at {path}", got="one", fix=fix, where=where)
    if isinstance(layer, AdaptedWhole) != isinstance(part, Trained):
        got, fix = "both", "leave the layer out: where= another pattern"
        raise StructureError(f"{path} either trained whole or adapted", got=got, fix=fix, where=where)


def put_in_use(model: Module, names: tuple[str, ...]) -> None:
    """Let these adapters compute and train, and let all others rest, frozen."""
    for wrapper in wrappers(model).values():
        wrapper.active = names
    mark_trainable(model)


def mark_trainable(model: Module) -> None:
    """Thaw the adapters that compute beside the weights, and freeze those that rest or are merged."""
    for wrapper in wrappers(model).values():
        for name, part in wrapper.adapters.items():
            (thaw if name in wrapper.active and wrapper.merged is None else freeze)(part)


def refuse_while_merged(model: Module, where: str) -> None:
    """Refuse to change adapters that are computed into weights.

    Raises:
        StructureError: some are.
    """
    if any(wrapper.merged is not None for wrapper in wrappers(model).values()):
        fix = "call px.adapt.unmerge(model) first"
        raise StructureError("adapters beside the weights", got="merged ones", fix=fix, where=where)
