"""px.adapt.load: a folder of PEFT's as an adapter."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from phlox.adapt._attaching import attach
from phlox.adapt._choosing import bare, check_model, check_name
from phlox.adapt._making import decoding
from phlox.adapt._merging import without
from phlox.adapt.layers._changes import IA3, LoRA, wide_dtype
from phlox.adapt.layers._prefix import Prefix
from phlox.adapt.layers._whole import Trained
from phlox.adapt.peft._arrays import LOW, LOW_EMBEDDED, read_factors, read_low
from phlox.adapt.peft._config import alpha_of, is_feedforward, number, read_config
from phlox.adapt.peft._naming import PREFIX, Place, maps_of, places_of, slots_of
from phlox.core import Module, RangeError, ShapeError, StructureError, at, key_or_draw, modules, paths
from phlox.nn import Dropout, Embedding
from phlox.weights import NameMap, Slot, place, read

M = TypeVar("M", bound=Module)
_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_ENDS = (*LOW, *LOW_EMBEDDED, "lora_magnitude_vector.weight", "lora_magnitude_vector", "ia3_l", "base_layer.weight")
_PROMPT = "prompt_embeddings"
Fields = dict[str, np.ndarray]
Drop = tuple[float, Any] | None
"""A dropout, and the key that it draws from."""


def load(model: M, folder: str | os.PathLike[str], name: str = "default", *, key: Any = None) -> M:
    """Put an adapter that PEFT or ``px.adapt.save`` wrote into a model; it alone is in use then, and it alone trains.

    LoRA, with rslora, DoRA, IA³ and prefix tuning. Layers that the file holds whole, such as heads, come as copies that
    compute in place of the model's while the adapter is in use. Layers that are fused there get one adapter each. All
    is checked before anything is changed.

    Arguments:
        model: the model that the adapter was trained beside, in place; given back as by ``px.adapt.lora``.
        folder: with ``adapter_config.json`` and ``adapter_model.safetensors``, or ``adapter_model.bin``.
        name: that it gets here.
        key: where its dropout draws from; by default the stream of ``px.seed``.

    Raises:
        FileError: a file that is missing or can't be read.
        RangeError: another kind of adapter, or an option of it that Phlox does not have.
        StructureError, ShapeError: an adapter for another model: other names, other sizes, other base weights.

    >>> import tempfile, phlox as px
    >>> a, b = (px.Chain(px.Dense(3, 2)) for _ in range(2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     px.adapt.save(px.adapt.lora(a, 4, where="*"), folder)
    ...     px.adapt.load(b, folder)[0].adapters["default"].rank
    4
    """
    where = f"px.adapt.load({os.fspath(folder)!r})"
    check_model(model, where)
    check_name(name, where)
    config = read_config(Path(folder), where)
    arrays = _arrays(Path(folder))
    if config["peft_type"] == "PREFIX_TUNING":
        return attach(model, name, _prefixes(model, config, arrays, where), where)
    found = _sorted_out(model, arrays, where)
    _check_base(found, where)
    parts: dict[str, Module] = {}
    dropout = number(config, "lora_dropout", 0.0, where)
    keys = jax.random.split(key_or_draw(key), max(len(found.fields), 1)) if dropout else None
    for i, (theirs, fields) in enumerate(found.fields.items()):
        drop = None if keys is None else (dropout, keys[i])
        parts |= _read(config, found.places[theirs], fields, drop, where)
    return attach(model, name, parts | _copies(found, where), where)


def _arrays(folder: Path) -> Fields:
    """All arrays of the file, by name."""
    path = next((folder / one for one in _FILES if os.path.lexists(folder / one)), folder / _FILES[0])
    with read(path) as arrays:
        return {key.removeprefix(PREFIX): np.asarray(arrays[key]) for key in arrays}


# --- whose the names are ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    """The arrays of a file by what they are of."""

    base: Any
    """A copy of the model without adapters."""
    places: dict[str, Place]
    slots: dict[str, Slot]
    """Of the base's arrays, by their names there."""
    fields: dict[str, Fields]
    """Of adapters, by layer."""
    whole: Fields
    """Of layers that are there whole, by name."""


def _sorted_out(model: Module, arrays: Fields, where: str) -> _Found:
    """A file's arrays by the map of names that knows most of them.

    Raises:
        StructureError: names that no map of the model knows.
    """
    base = without(model)
    tried = [_by_names(base, names, arrays) for names in maps_of(model)]
    found, unknown = min(tried, key=lambda one: len(one[1]))
    if unknown:
        known = [*found.places, *found.slots]
        close = difflib.get_close_matches(unknown[0], known, 1, 0.6)
        fix = "load it into the model that it was trained beside" + (f"; close to it is {close[0]}" if close else "")
        more = f", and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        expected = "an adapter whose layers the model has"
        raise StructureError(expected, got=f"{unknown[0]}{more}"[:200], fix=fix, where=where)
    return found


def _by_names(base: Module, names: NameMap, arrays: Fields) -> tuple[_Found, list[str]]:
    """Arrays by what they are of, and the names that mean nothing in the model."""
    known, held = slots_of(names, base, arrays), paths(base)
    places = places_of(base, known)
    slots = {name: slot for slot in known if slot.ours in held for name in slot.theirs}
    found, unknown = _Found(base, places, slots, {}, {}), []
    for key, array in arrays.items():
        theirs, end = _apart(key)
        if end and theirs in places:
            found.fields.setdefault(theirs, {})[end] = array
        elif not end and key in slots and not slots[key].whole and not slots[key].apart:
            found.whole[key] = array
        else:
            unknown.append(theirs if end else key)
    return found, unknown


def _apart(key: str) -> tuple[str, str]:
    """A layer's name, and what stands behind it, which is nothing where it is no array of an adapter."""
    end = next((end for end in _ENDS if key.endswith("." + end)), "")
    return (key[: -len(end) - 1], end.removesuffix(".weight") if "magnitude" in end else end) if end else (key, "")


def _check_base(found: _Found, where: str) -> None:
    """Refuse base weights in the file, as PEFT writes of embeddings, that are not the model's; leave them out then.

    Raises:
        StructureError: others.
    """
    for theirs, fields in list(found.fields.items()):
        base = fields.pop("base_layer.weight", None)
        if base is not None:
            weight = np.asarray(found.places[theirs].pieces[0].layer.weight)
            if base.shape != weight.shape or not np.array_equal(base, weight):
                fix = "load the model that it was trained beside"
                raise StructureError(f"the model's own weight of {theirs}", got="another", fix=fix, where=where)
        if not fields:
            del found.fields[theirs]


def _read(config: Mapping[str, Any], found: Place, fields: Fields, drop: Drop, where: str) -> dict[str, Module]:
    """What a layer's arrays make, with its name in the error where they do not fit."""
    theirs = found.name
    try:
        return (_factors if config["peft_type"] == "IA3" else _low_rank)(config, found, fields, drop, where)
    except KeyError as error:
        fix = "fetch the folder again"
        raise StructureError(f"{error.args[0]} of {theirs}", got="none", fix=fix, where=where) from error
    except ValueError as error:
        if isinstance(error, ShapeError | RangeError):
            raise
        expected, _, got = str(error).partition(", got ")
        fix = "load it into the model that it was trained beside"
        raise ShapeError(f"{expected} for {theirs}", got=got, fix=fix, where=where) from error


# --- adapters ---------------------------------------------------------------------------------------


def _low_rank(config: Mapping[str, Any], found: Place, fields: Fields, drop: Drop, where: str) -> dict[str, Module]:
    alpha, rslora = alpha_of(config, found.name, where), bool(config.get("use_rslora"))
    if bool(config.get("use_dora")) != ("lora_magnitude_vector" in fields):
        raise KeyError("lora_magnitude_vector" if config.get("use_dora") else "use_dora")
    layer = found.pieces[0].layer
    dtype, embedded = wide_dtype(layer.weight), isinstance(layer, Embedding)
    return {
        path: LoRA(
            *(jnp.asarray(array, dtype) for array in arrays), alpha=alpha, rslora=rslora,
            drop=None if drop is None or embedded else Dropout(drop[0], key=drop[1]),
        )
        for path, arrays in read_low(found, fields).items()
    }  # fmt: skip


def _factors(config: Mapping[str, Any], found: Place, fields: Fields, drop: Drop, where: str) -> dict[str, Module]:
    del drop, where
    feedforward = is_feedforward(config, found.name)
    dtype = wide_dtype(found.pieces[0].layer.weight)
    return {
        path: IA3(jnp.asarray(factors, dtype), feedforward=feedforward)
        for path, factors in read_factors(found, fields["ia3_l"], feedforward).items()
    }


def _prefixes(model: Module, config: Mapping[str, Any], arrays: Fields, where: str) -> dict[str, Module]:
    """Keys and values of each attention.

    Raises:
        ShapeError: of another number of layers, or of other sizes, than the model's.
        StructureError: no array of them, or another beside it.
    """
    del config
    layers = {path: bare(layer) for path, layer in decoding(model, where).items()}
    fix = "load it into the model that it was trained beside"
    if set(arrays) != {_PROMPT}:
        raise StructureError(f"one array {_PROMPT}", got=", ".join(sorted(arrays))[:200], fix=fix, where=where)
    given, sizes = arrays[_PROMPT], [2 * layer.kv_heads * layer.head_dim for layer in layers.values()]
    if given.ndim != 2 or given.shape[1] != sum(sizes):
        expected = f"keys and values (length, {sum(sizes)}) of {len(sizes)} layers"
        raise ShapeError(expected, got=str(list(given.shape)), fix=fix, where=where)
    found, start = {}, 0
    for (path, layer), size in zip(layers.items(), sizes, strict=True):
        pair = given[:, start : start + size].reshape(len(given), 2, layer.kv_heads, layer.head_dim)
        found[path], start = Prefix(jnp.asarray(pair[:, 0]), jnp.asarray(pair[:, 1])), start + size
    return found


# --- layers that are there whole --------------------------------------------------------------------


def _copies(found: _Found, where: str) -> dict[str, Module]:
    """Copies of layers with the file's arrays, by the paths of those that hold them.

    Raises:
        ShapeError: arrays of other sizes.
    """
    slots = [found.slots[key] for key in found.whole]
    for key, array in found.whole.items():
        if not found.slots[key].fits(array.shape):
            expected = f"{key} of {list(found.slots[key].expected)}"
            fix = "build the model with as many classes as the adapter's"
            raise ShapeError(expected, got=str(list(array.shape)), fix=fix, where=where)
    place(found.base, slots, found.whole)
    return {path: Trained(at(found.base, path)) for path in _owners(found.base, [slot.ours for slot in slots])}


def _owners(base: Module, held: Iterable[str]) -> list[str]:
    """The layers that hold arrays, each once."""
    layers = modules(base)
    found = []
    for path in held:
        above = path
        while above not in layers:
            above = above.rpartition(".")[0]
        found.append(above)
    return list(dict.fromkeys(found))
