"""px.models.load: a folder of the hub's, or any like it, as a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from phlox.core import (
    RangeError,
    StructureError,
    bf16,
    eval_shape,
    f16,
    f32,
    f64,
    key_or_draw,
    load_state_dict,
    seed,
    state_dict,
)
from phlox.models._catalogue import family_of, family_of_type
from phlox.models._config import Config, read_json
from phlox.models._family import Family
from phlox.models._hub import folder_of
from phlox.models._timm import config_of_timm
from phlox.parallel import Placement, Strategy, placed
from phlox.weights import Arrays, NameMap, Slot, file_error, open_regular, place, read

_WHERE = "px.models.load"
_LONGEST = 1 << 24  # bytes of a config
_CONVERT = {"float32": f32, "bfloat16": bf16, "float16": f16, "float64": f64}


@dataclass(frozen=True)
class _Source:
    """What ``config.json`` says, before a weight is read."""

    family: Family
    config: Config
    dialects: tuple[str, ...]
    """In which the names of the weights may be."""
    named: bool = True
    """Whether it says which head the model has; else the names of the weights do."""

    def maps(self, config: Config) -> list[NameMap]:
        """The maps that the names may go by: of the whole model, or of its trunk alone."""
        whole = [self.family.names_of(dialect, config) for dialect in self.dialects]
        return whole + [names.below(self.family.base) for names in whole if self.family.base]


@dataclass(frozen=True)
class _Plan:
    """Where every array of the model comes from."""

    slots: list[Slot]
    drawn: list[str]
    """Paths of what the file does not hold and is made anew: random keys, and a head for other classes."""


def load(
    source: str | os.PathLike[str],
    *,
    dtype: Any = None,
    classes: int | None = None,
    task: str | None = None,
    revision: str | None = None,
    key: Any = None,
    parallel: Strategy | Placement | None = None,
) -> Any:
    """A model with its weights, from a folder or from the hub.

    The folder holds ``config.json``, as transformers or timm write it, and ``model.safetensors``, its shards with their
    index, or PyTorch's ``pytorch_model.bin``. Every name in the file must find its place and every array of the model
    its name. Nothing in the folder is executed, and the model appears whole or not at all.

    Arguments:
        source: a folder, or the name of a repository on the hub, ``"microsoft/resnet-50"``, which takes the extra
            ``hub`` and a network.
        dtype: of the weights; by default the one that they have in the file.
        classes: another number of classes than the file's: the head is drawn anew; 0 for no head.
        task: what the head is for, by default what the file's is for; another one is drawn anew, and
            ``"feature-extraction"`` is none.
        revision: of a repository: a branch, a tag or a commit.
        key: where what is new is drawn from; by default the stream of ``px.seed``.
        parallel: how it is spread over devices, ``px.parallel.tensor_parallel(8)``: of each array a process reads what
            its own devices hold, and none holds all. Go on with the same one: ``px.fit(model, …, parallel=)``.

    Raises:
        FileError: a file that is missing or cannot be read.
        RangeError: a family that Phlox does not have, or a size beyond reason.
        StructureError: names left over on either side, or arrays of other shapes than the config says.
        MissingExtraError: the hub without the extra ``hub``, or PyTorch's files without PyTorch.

    >>> import tempfile, phlox as px
    >>> config = px.models.ResNetConfig(embedding_size=8, hidden_sizes=(8,), depths=(1,), layer_type="basic", classes=3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     px.models.save(px.models.create(config), folder)
    ...     model = px.models.load(folder)
    >>> model.config == config
    True
    """
    folder = folder_of(source, revision)
    found = _described(folder, task)
    with read(folder) as arrays:
        shapes = arrays.shapes()
        made = partial(_made, found.family, _dtype(dtype, arrays))
        found = found if found.named else _told_by_names(found, made, shapes)
        model = eval_shape(partial(made, found.config))
        spoken, head = _spoken(found, model, shapes)
        trunk = not any(name in shapes for name in head)
        config = found.config.with_task(task).with_classes(classes)
        config = config.without_head() if trunk and task is None and classes is None else config
        if config != found.config:
            model = eval_shape(partial(made, config))
            spoken = _most(found.maps(config), model, shapes)[0]
        names = found.maps(config)[spoken]
        new = (*_new(found, config, trunk), *_absent(found.family.optional, names, model, shapes))
        plan = _planned(model, names, {n: s for n, s in shapes.items() if not _below(head.get(n, ""), new)}, new)
        placement = None if parallel is None else Placement.of(parallel)
        where = None if placement is None else placement.shardings(model)
        place(model, plan.slots, arrays, where=where)
    if plan.drawn:
        drawn = _drawn(partial(made, config), tuple(plan.drawn), key_or_draw(key), where)
        load_state_dict(model, drawn, strict=False)
    return model if placement is None else placed(model, placement)


def _described(folder: Path, task: str | None) -> _Source:
    """What ``config.json`` says: transformers' form by ``model_type``, timm's by ``architecture``.

    An architecture of another head does not matter where a task is asked for.
    """
    where, path = f"{_WHERE}({os.fspath(folder)!r})", folder / "config.json"
    try:
        with open_regular(path) as file:
            entries = read_json(file.read(_LONGEST), where)
    except OSError as error:
        raise file_error(error, path, where) from error
    if "architecture" in entries and "model_type" not in entries:
        config = config_of_timm(entries, where)
        return _Source(family_of(config, where), config, ("timm",))
    family = family_of_type(entries.get("model_type"), where)
    known, said = _architectures(family.config), entries.get("architectures")
    named = not known or (isinstance(said, list) and bool(said) and (said[0] in known or task is None))
    config = family.config.from_dict(entries if named else {**entries, "architectures": None})
    return _Source(family, config, family.dialects(config), named)


def _architectures(config: type[Config]) -> list[str]:
    """What ``config.json`` may call the classes of a family whose models have a head by task."""
    names = getattr(config, "architectures", {}).values()
    return [name for one in names for name in ((one,) if isinstance(one, str) else one)]


def _told_by_names(found: _Source, made: Callable[[Config], Any], shapes: Mapping[str, Any]) -> _Source:
    """The same with the task of which the file has the most names; with the usual one where that is as many."""

    def known(config: Config) -> int:
        model = eval_shape(partial(made, config))
        return max(_known(names.slots(model, shapes)[0], shapes) for names in found.maps(config))

    configs = [found.config]
    for task in getattr(type(found.config), "architectures", {}):
        with suppress(RangeError):  # a head that the config rules out
            configs.append(found.config.with_task(task))
    counts = [known(config) for config in configs]
    most = max(counts[1:])
    one = counts[0] < most and counts.count(most) == 1
    return replace(found, config=configs[counts.index(most)]) if one else found


def _new(found: _Source, config: Config, trunk: bool) -> tuple[str, ...]:
    """Paths of what is not taken from the file: the head of a trunk, or what the number of classes changes."""
    if trunk or not config.classes or not config.same_head(found.config):
        return (found.family.head,)
    return found.family.heads if config.classes != found.config.classes else ()


def _absent(optional: tuple[str, ...], names: NameMap, model: Any, shapes: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the parts that a file may lack, those of which it has nothing."""
    if not optional:
        return ()
    held = [slot.ours for slot in names.slots(model, shapes)[0] if any(name in shapes for name in slot.theirs)]
    return tuple(part for part in optional if not any(_below(path, (part,)) for path in held))


def _spoken(found: _Source, model: Any, shapes: Mapping[str, Any]) -> tuple[int, dict[str, str]]:
    """Which map most names of the file go by, and by what it calls the arrays of the head, their paths."""
    best, slots = _most(found.maps(found.config), model, shapes)
    head = [slot for slot in slots if _below(slot.ours, (found.family.head,))]
    return best, {n: slot.ours for slot in head for n in slot.theirs}


def _most(maps: list[NameMap], model: Any, shapes: Mapping[str, Any]) -> tuple[int, list[Slot]]:
    """Which of some maps knows most names of the file, and where these put the arrays."""
    spoken = [names.slots(model, shapes)[0] for names in maps]
    known = [_known(slots, shapes) for slots in spoken]
    best = known.index(max(known))
    return best, spoken[best]


def _known(slots: list[Slot], shapes: Mapping[str, Any]) -> int:
    return sum(name in shapes for slot in slots for name in slot.theirs)


def _planned(model: Any, names: NameMap, shapes: Mapping[str, Any], new: tuple[str, ...]) -> _Plan:
    """Where every array comes from, but for the parts that are new.

    Raises:
        StructureError: names left over on either side, or other shapes.
    """
    slots, nameless = names.slots(model, shapes)
    ours = [slot for slot in slots if not _below(slot.ours, new)]
    missing = [f"{n} for {slot.ours}" for slot in ours for n in slot.theirs if n not in shapes]
    used = {n for slot in ours for n in slot.theirs}
    left = [n for n in shapes if n not in used and not names.ignores(n)]
    if missing or left or nameless:
        raise _left_over(missing + nameless, left)
    wrong = [
        f"{s.ours}: {n} is {shapes[n]}, the config says {s.expected}"
        for s in ours
        for n in s.theirs
        if not s.fits(shapes[n])
    ]
    if wrong:
        raise StructureError(
            "arrays of the sizes that config.json says", got="others:\n  " + _some(wrong),
            fix="fetch the folder again: its files are not of one model", where=_WHERE,
        )  # fmt: skip
    given = {slot.ours for slot in ours}
    return _Plan(ours, [path for path in state_dict(model) if path not in given])


def _left_over(missing: list[str], left: list[str]) -> StructureError:
    sides = [f"missing in the file:\n  {_some(missing)}"] if missing else []
    sides += [f"unknown to the model:\n  {_some(left)}"] if left else []
    return StructureError(
        "a name in the file for every array, and an array for every name", got="\n".join(sides),
        fix="look whether config.json and the weights are of one model; else px.weights.convert takes rules",
        where=_WHERE,
    )  # fmt: skip


def _some(lines: list[str], most: int = 12) -> str:
    return "\n  ".join(lines[:most] + ([f"… and {len(lines) - most} more"] if len(lines) > most else []))


def _below(path: str, parts: tuple[str, ...]) -> bool:
    return any(path == part or path.startswith(part + ".") for part in parts)


def _dtype(wanted: Any, arrays: Arrays) -> str:
    """The name of the dtype that the model gets: the wanted one, else that of most numbers in the file.

    Raises:
        RangeError: one that no model has.
    """
    if wanted is not None:
        try:
            name = wanted if isinstance(wanted, str) else np.dtype(wanted).name
        except (TypeError, ValueError):  # no dtype at all
            name = wanted
        if not isinstance(name, str) or name not in _CONVERT:
            got = repr(name)[:100]
            raise RangeError(f"a dtype among {', '.join(_CONVERT)}", got=got, fix="choose one", where=_WHERE)
        return name
    sizes: dict[str, int] = {}
    for spec in map(arrays.spec, arrays):
        if jnp.issubdtype(spec.dtype, jnp.floating):
            sizes[spec.dtype.name] = sizes.get(spec.dtype.name, 0) + spec.nbytes
    found = max(sizes, key=lambda name: sizes[name], default="float32")
    return found if found in _CONVERT else "float32"


def _made(family: Family, dtype: str, config: Config) -> Any:
    model = family.model(config)
    return model if dtype == "float32" else _CONVERT[dtype](model)


def _drawn(
    make: Callable[[], Any], paths: tuple[str, ...], key: Any, where: Mapping[str, Sharding] | None
) -> dict[str, jax.Array]:
    """What a fresh model has at some paths, spread as they shall lie; only these are computed."""

    def at_paths(key: jax.Array) -> dict[str, jax.Array]:
        with seed(key):
            fresh = state_dict(make())
        return {path: fresh[path] for path in paths}

    spread = None if where is None else {path: where[path] for path in paths}
    return jax.jit(at_paths, out_shardings=spread)(key)
