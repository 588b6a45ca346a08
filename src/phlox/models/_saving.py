"""px.models.save: a model as a folder that transformers, timm and Phlox read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from phlox.adapt import plain
from phlox.core import Module, StructureError, describe, eval_shape, modules, shown, state_dict, static_key
from phlox.models._catalogue import family_of, variant_of
from phlox.models._family import Family
from phlox.models._model import Model
from phlox.weights import file_error, replacing, write_by_one

_WHERE = "px.models.save"
_NOTHING, _ELSEWHERE = object(), object()


def save(model: Model, folder: str | os.PathLike[str], *, names: str | None = None) -> None:
    """Write ``config.json`` and ``model.safetensors`` as the hub has them, so that other libraries load the model.

    Each file appears whole or not at all, the weights before the config. What the config does not say is refused: a
    layer that was added or replaced, another activation; ``px.save`` writes any model. Adapters are written where they
    are merged: ``px.adapt.merge``. Of a model that lies in parts over several processes all call this, and process 0
    writes, one array at a time.

    Arguments:
        model: one of ``px.models``.
        folder: where to; it is made where it is missing.
        names: whose names: ``"transformers"``, or ``"timm"`` where the family has them; by default the first of its
            that can hold this config.

    Raises:
        StructureError: no model of ``px.models``, or one that was changed beyond its config, or with an adapter in use
            that is not merged.
        FileError: the files cannot be written.

    >>> import os, tempfile, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     px.models.save(px.models.create("resnet18", classes=2), folder)
    ...     sorted(os.listdir(folder))
    ['config.json', 'model.safetensors']
    """
    where = f"{_WHERE}({os.fspath(folder)!r})"
    if not isinstance(model, Model):
        raise StructureError("a model of px.models", got=describe(model), fix="px.save writes any model", where=where)
    model = plain(model, where)
    family = family_of(model.config, where)
    dialects = family.dialects(model.config)
    dialect = names or dialects[0]
    if dialect not in dialects:
        known = ", ".join(map(repr, dialects))
        raise StructureError(
            f"names that can hold this config: {known}", got=repr(dialect), fix="choose one of these", where=where
        )
    entries = _entries(family, model, dialect, where)
    forms, arrays = family.names_of(dialect, model.config).streamed(model)
    _check_form(family, model, where)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(error, folder, where) from error
    write_by_one(Path(folder, "model.safetensors"), forms, arrays, {"format": "pt"}, where, state_dict(model).values())
    with replacing(Path(folder, "config.json"), where=where) as temporary:
        temporary.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n")


def _entries(family: Family, model: Any, dialect: str, where: str) -> dict[str, Any]:
    """What ``config.json`` holds."""
    if dialect != "timm":
        known = {"architectures": [family.architecture]} if dialect == "transformers" else {}
        return {**known, **model.config.to_dict()}
    name = variant_of(model.config)
    if name is None:
        raise StructureError(
            "a config that timm has a name for",
            got=f"one of {model.config}",
            fix='name another dialect of the family, such as names="transformers", or write it with px.save',
            where=where,
        )
    return {"architecture": name, "num_classes": model.config.classes, "num_features": model.width}


def _check_form(family: Family, model: Any, where: str) -> None:
    """Refuse a model that its config would not build again: other arrays, other layers, or other options of a layer."""
    built = eval_shape(lambda: family.model(model.config))
    other = _differences(_shapes(model), _shapes(built)) or _differences(_options(model), _options(built))
    if other:
        raise StructureError(
            "the model that its config builds", got="another:\n  " + "\n  ".join(other[:12]),
            fix="set model.config to what it is now, or write it with px.save", where=where,
        )  # fmt: skip


def _differences(here: dict[str, Any], built: dict[str, Any]) -> list[str]:
    return [
        f"{path}: {_text(here.get(path, 'missing'))}, by the config {_text(built.get(path, 'none'))}"
        for path in {**built, **here} if _key(here.get(path, _NOTHING)) != _key(built.get(path, _NOTHING))
    ]  # fmt: skip


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    return {path: array.shape for path, array in state_dict(model).items()}


def _options(model: Any) -> dict[str, Any]:
    """The kinds of all layers, and what they hold beside arrays, by path."""
    found: dict[str, Any] = {}
    for path, layer in modules(model).items():
        found[path] = type(layer)
        found |= {f"{path}.{name}".lstrip("."): value for name, value in vars(layer).items()}
    return found


def _key(value: Any) -> Any:
    """What two equal options have in common; arrays and layers are compared by their own paths."""
    if isinstance(value, Module | jax.Array | np.ndarray | jax.ShapeDtypeStruct):
        return _ELSEWHERE
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_key, value))
    return {name: _key(item) for name, item in value.items()} if isinstance(value, dict) else static_key(value)


def _text(value: Any) -> str:
    return type(value).__name__ if isinstance(value, Module) else value if isinstance(value, str) else shown(value)
