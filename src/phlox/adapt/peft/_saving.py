"""px.adapt.save: an adapter as a folder that PEFT reads."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phlox.adapt._attaching import wrappers
from phlox.adapt._choosing import check_model
from phlox.adapt._merging import without
from phlox.adapt._switching import chosen_names
from phlox.adapt.layers._changes import IA3, LoRA
from phlox.adapt.layers._embedding import AdaptedEmbedding
from phlox.adapt.layers._prefix import Prefix
from phlox.adapt.layers._whole import Trained
from phlox.adapt.peft._arrays import Written, written_factors, written_low
from phlox.adapt.peft._config import NAME, config_text, task_of
from phlox.adapt.peft._naming import PREFIX, Place, maps_of, places_of, shortest, slots_of
from phlox.core import Module, StructureError, copy, modules, paths, replaced, trainable_arrays, write_arrays
from phlox.weights import NameMap, file_error, is_cut, replacing, whole, write_by_one

_WEIGHTS = "adapter_model.safetensors"


def save(model: Module, folder: str | os.PathLike[str], name: str = "default") -> None:
    """Write an adapter as ``adapter_config.json`` and ``adapter_model.safetensors``, which PEFT loads.

    Layers are named as the hub names them where the model says so, by a method ``names`` that gives its
    ``px.weights.NameMap``, as models of ``px.models`` do; others by their own paths. What else of the model trains, a
    head that was thawed or that came with the adapter, is written whole beside it. Layers that are fused there get one
    adapter there: where A differs, one of the rank of all together, which computes the same. Of a model that lies in
    parts over several processes all call this, and process 0 writes.

    Arguments:
        model: a model with adapters.
        folder: where to; it is made where it is missing. Each file appears whole or not at all.
        name: of the adapter.

    Raises:
        RangeError: a name that no adapter has.
        StructureError: several kinds under one name, or a layer that has no name there.
        FileError: the files cannot be written.

    >>> import os, tempfile, phlox as px
    >>> model = px.adapt.lora(px.Chain(px.Dense(3, 2)), where="*")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     px.adapt.save(model, folder)
    ...     sorted(os.listdir(folder))
    ['adapter_config.json', 'adapter_model.safetensors']
    """
    where = f"px.adapt.save({os.fspath(folder)!r})"
    check_model(model, where)
    chosen_names(model, (name,), where)
    lying = list(paths(model).values())
    model = _brought_together(model)
    parts = {path: one.adapters[name] for path, one in wrappers(model).items() if name in one.adapters}
    changes: dict[str, Any] = {path: part for path, part in parts.items() if not isinstance(part, Trained)}
    dropout = _check_one_kind(model, changes, where)
    heads = _heads(model, {path: part for path, part in parts.items() if isinstance(part, Trained)}, where)
    first = next(iter(changes.values()), None)
    if isinstance(first, Prefix):
        arrays, entries = _prefixes(list(changes.values()), where)
    else:
        places = _places(model, changes, where)
        if isinstance(first, IA3):
            arrays, entries = _factors(places, changes, where)
        else:
            arrays, entries = _low_rank(places, changes, _all_names(model))
            entries |= {"lora_dropout": dropout}
    entries |= {"modules_to_save": heads.modules or None, "task_type": task_of(model, bool(heads.modules))}
    _write(Path(folder), arrays | heads.arrays, entries, where, lying)


def _brought_together(model: Module) -> Module:
    """A model whose adapters, and what else trains, this process has whole; of several all call this."""
    adapters = [part for one in wrappers(model).values() for part in one.adapters.values()]
    wanted = [array for part in adapters for array in paths(part).values()]
    wanted += trainable_arrays(model).values()
    ours = {id(array) for array in wanted}
    cut = {path: whole(array) for path, array in paths(model).items() if id(array) in ours and is_cut(array)}
    if not cut:
        return model
    twin = copy(model)
    write_arrays(twin, cut)
    return twin


def _check_one_kind(model: Module, parts: Mapping[str, Any], where: str) -> float:
    """Refuse what one file can't hold; the dropout of all, which embeddings have none of.

    Raises:
        StructureError: several kinds, scales of several forms, or several dropouts.
    """
    layers = wrappers(model)
    forms = {(part.kind, getattr(part, "rslora", False)) for part in parts.values()}
    drops = {_dropout(part) for path, part in parts.items() if not isinstance(layers[path], AdaptedEmbedding)}
    if len(forms) > 1 or len(drops) > 1:
        kinds = sorted({kind for kind, _ in forms})
        got = " and ".join(kinds) if len(kinds) > 1 else "several of a " + "".join(kinds)
        fix = "give each a name= of its own, and write them one by one"
        raise StructureError("an adapter of one kind, one rslora and one dropout", got=got, fix=fix, where=where)
    return drops.pop() if drops else 0.0


def _dropout(part: Any) -> float:
    drop = getattr(part, "drop", None)
    return 0.0 if drop is None else drop.p


# --- the adapter ------------------------------------------------------------------------------------


def _places(model: Module, parts: Mapping[str, Any], where: str) -> list[Place]:
    """The layers there that hold a part.

    Raises:
        StructureError: a layer without a name there.
    """
    bare = without(model)
    found = places_of(bare, slots_of(maps_of(model)[0], bare)).values()
    held = {piece.path for place in found for piece in place.pieces}
    if lost := [path for path in parts if path not in held]:
        fix = "give model.names() an entry for it; px.save keeps the whole model"
        raise StructureError("a name there for every layer with the adapter", got=lost[0], fix=fix, where=where)
    return [place for place in found if any(piece.path in parts for piece in place.pieces)]


def _all_names(model: Module) -> list[str]:
    """What the layers of a model are called there, all that have arrays."""
    bare = without(model)
    names = {name.rpartition(".")[0] for slot in slots_of(maps_of(model)[0], bare) for name in slot.theirs}
    return sorted(names)


Contents = tuple[dict[str, np.ndarray], dict[str, Any]]


def _low_rank(places: list[Place], parts: Mapping[str, LoRA], known: list[str]) -> Contents:
    written = {place.name: written_low(place, parts) for place in places}
    first = next(iter(parts.values()))
    rank, alpha = _usual(one.rank for one in written.values()), _usual(one.alpha for one in written.values())
    entries = {
        "peft_type": "LORA", "r": rank, "lora_alpha": _plain(alpha), "use_rslora": first.rslora,
        "use_dora": first.magnitude is not None, "bias": "none", "init_lora_weights": True,
        "rank_pattern": {name: one.rank for name, one in written.items() if one.rank != rank},
        "alpha_pattern": {name: _plain(one.alpha) for name, one in written.items() if one.alpha != alpha},
        "target_modules": shortest(written, known), "fan_in_fan_out": any(place.inputs_first for place in places),
    }  # fmt: skip
    return _below(written), entries


def _below(written: Mapping[str, Written]) -> dict[str, np.ndarray]:
    return {f"{PREFIX}{name}.{end}": array for name, one in written.items() for end, array in one.arrays.items()}


def _usual(values: Iterable[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]


def _plain(value: float) -> float:
    """A number as JSON has it best."""
    return int(value) if float(value).is_integer() else float(value)


def _factors(places: list[Place], parts: Mapping[str, IA3], where: str) -> Contents:
    arrays = {place.name: written_factors(place, parts, where) for place in places}
    scaled = {path for path, part in parts.items() if part.feedforward}
    inputs = [place.name for place in places if any(piece.path in scaled for piece in place.pieces)]
    entries = {
        "peft_type": "IA3", "target_modules": sorted(arrays), "feedforward_modules": sorted(inputs),
        "fan_in_fan_out": any(place.inputs_first for place in places), "init_ia3_weights": True,
    }  # fmt: skip
    return {f"{PREFIX}{name}.{end}": array for name, one in arrays.items() for end, array in one.items()}, entries


def _prefixes(parts: list[Prefix], where: str) -> Contents:
    """Keys and values of all layers, side by side: (length, layers · 2 · heads · size).

    Raises:
        StructureError: layers whose heads are of other sizes.
    """
    shapes = {part.keys.shape for part in parts}
    if len(shapes) > 1:
        got, fix = " and ".join(map(str, sorted(shapes))), "px.save keeps the whole model"
        raise StructureError("keys of one shape in all layers", got=got, fix=fix, where=where)
    length, heads, size = shapes.pop()
    pairs = np.stack([np.stack([np.asarray(part.keys), np.asarray(part.values)]) for part in parts])
    entries = {
        "peft_type": "PREFIX_TUNING", "num_virtual_tokens": length, "num_layers": len(parts),
        "num_attention_heads": heads, "token_dim": heads * size, "encoder_hidden_size": heads * size,
        "num_transformer_submodules": 1, "prefix_projection": False,
    }  # fmt: skip
    return {"prompt_embeddings": pairs.transpose(2, 0, 1, 3, 4).reshape(length, -1)}, entries


# --- what is trained whole beside it ----------------------------------------------------------------


class _Heads:
    """Layers that are written whole: their arrays by name, and their names."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.arrays = {PREFIX + name: array for name, array in arrays.items()}
        self.modules = sorted({name.rpartition(".")[0] for name in arrays})


def _heads(model: Module, copies: Mapping[str, Trained], where: str) -> _Heads:
    """The copies that came with an adapter, and what else trains.

    Raises:
        StructureError: an array that has no name there, or is a part of one.
    """
    bare = without(model)
    adapters = [part for one in wrappers(model).values() for part in one.adapters.values()]
    own = {id(array) for part in adapters for array in paths(part).values()}
    learning = {id(array) for array in trainable_arrays(model).values()} - own
    owners = {path.rpartition(".")[0] for path, array in paths(bare).items() if id(array) in learning} | set(copies)
    if not owners:
        return _Heads({})
    held = modules(bare)
    bare = replaced(bare, {id(held[path]): part.layer for path, part in copies.items()}, where)
    return _Heads(_named(bare, maps_of(model)[0], owners, where))


def _named(bare: Module, names: NameMap, owners: set[str], where: str) -> dict[str, np.ndarray]:
    """The arrays of some layers by their names there."""
    values, slots = paths(bare), {slot.ours: slot for slot in names.slots(bare)[0]}
    found: dict[str, np.ndarray] = {}
    for path in (path for path in values if path.rpartition(".")[0] in owners):
        slot = slots.get(path)
        if slot is None or slot.whole:
            got, fix = path, "px.freeze it, or keep the whole model by px.save"
            raise StructureError("a name there for all that trains", got=got, fix=fix, where=where)
        found |= slot.write(values[path])
    return found


# --- files ------------------------------------------------------------------------------------------


def _write(
    folder: Path, arrays: dict[str, np.ndarray], entries: dict[str, Any], where: str, lying: Iterable[Any]
) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(error, folder, where) from error
    ready = {name: np.asarray(array) for name, array in arrays.items()}
    forms = {name: (array.shape, array.dtype) for name, array in ready.items()}
    write_by_one(folder / _WEIGHTS, forms, ready.items(), {"format": "pt"}, where, lying)
    with replacing(folder / NAME, where=where) as temporary:
        temporary.write_text(config_text(entries))
