"""What a model is built from, as the hub's ``config.json`` writes it."""

from __future__ import annotations

import copy
import json
import math
import types
import typing
import warnings
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import lru_cache
from typing import Any, ClassVar, Self

from phlox.core import OptionError, RangeError, stack_level

_LARGEST = 1 << 24  # of a size: more would be a damaged or hostile file
_ENDLESS = 10**300  # of a whole number: no float is as large
DEEPEST = 4096  # of what is counted in blocks
_COUNTS = (
    "num_hidden_layers", "depths", "encoder_layers", "decoder_layers", "n_blocks", "n_layer", "n_layers",
    "num_block_repeats", "num_layers", "num_decoder_layers",
)  # fmt: skip
_OURS = ("classes", "labels", "task")  # fields that the hub writes in another form
_NEUTRAL = {
    "_attn_implementation_autoset", "_commit_hash", "_name_or_path", "_num_labels", "architectures",
    "attn_implementation", "auto_map", "chunk_size_feed_forward", "dtype", "finetuning_task", "id2label",
    "is_encoder_decoder", "label2id", "num_labels", "out_features", "out_indices", "output_attentions",
    "output_hidden_states", "problem_type", "pruned_heads", "return_dict", "stage_names", "tie_word_embeddings",
    "torch_dtype", "torchscript", "transformers_version", "use_bfloat16",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a model is built from; a subclass for each family has fields by the hub's names.

    Arguments:
        classes: how many classes the head tells apart; 0 for no head.
        labels: their names, in order; empty where they have none.
    """

    model_type: ClassVar[str] = ""
    """What ``config.json`` calls the family."""
    neutral: ClassVar[frozenset[str]] = frozenset()
    """Keys of the hub's that change no number here."""
    fixed: ClassVar[Mapping[str, Any]] = {}
    """Keys of the hub's of which one value is supported."""
    family: ClassVar[Any] = None
    """The ``Family`` whose config it is."""

    classes: int = 1000
    labels: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """The config that the entries of a ``config.json`` say.

        Raises:
            OptionError: an entry of the wrong type.
            RangeError: a size below zero or beyond reason, or an option that Phlox does not have.
        """
        where = f"{cls.__name__}.from_dict"
        for key, value in cls.fixed.items():
            if entries.get(key, value) != value:
                raise RangeError(
                    f"{key} = {value!r}", got=repr(entries[key]), fix="no other value is supported", where=where
                )
        hints, given = _hints(cls), {}
        for key, value in entries.items():
            if key in hints and key not in _OURS:
                given[key] = _checked(key, value, hints[key], where)
        _warn_of_unknown(cls, entries, hints)
        return cls(**given, **_classes(entries, where))

    def to_dict(self) -> dict[str, Any]:
        """The entries of a ``config.json``: what ``from_dict`` reads, and what the hub's libraries ask for."""
        own = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name not in _OURS}
        labels = self.labels or tuple(f"LABEL_{i}" for i in range(self.classes))
        named = {
            "id2label": {str(i): n for i, n in enumerate(labels)},
            "label2id": {n: i for i, n in enumerate(labels)},
        }
        return {"model_type": self.model_type, **dict(self.fixed), **own, **(named if labels else {"num_labels": 0})}

    def with_classes(self, classes: int | None, labels: tuple[str, ...] = ()) -> Self:
        """The same with another number of classes; with None, this one. Labels stay where the number does."""
        kept = labels or (self.labels if classes == self.classes else ())
        return self if classes is None else replace(self, classes=classes, labels=kept)

    def with_task(self, task: str | None) -> Self:
        """The same with the head of another task; with None, this one.

        Raises:
            RangeError: a task that the family has no head for.
        """
        if task is not None:
            fix = "leave it out: models of this family have one head; classes= sets its size"
            raise RangeError("no task", got=repr(task)[:100], fix=fix, where=type(self).__name__)
        return self

    def without_head(self) -> Self:
        """The same for the trunk alone, as a file may hold it."""
        return self.with_classes(0)

    def same_head(self, other: Config) -> bool:
        """Whether both have a head of the same form, whatever its size."""
        return True


def read_json(text: str | bytes, where: str, kind: type[Any] = dict) -> Any:
    """The object, or the list, that JSON text holds.

    Raises:
        OptionError: it is no JSON, or no object.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OptionError("JSON", got=str(error)[:200], fix="fetch the file again", where=where) from error
    if not isinstance(found, kind):
        what = "a JSON object" if kind is dict else "a list in JSON"
        raise OptionError(what, got=type(found).__name__, fix="fetch the file again", where=where)
    return found


def check_stages(depths: tuple[int, ...], sizes: tuple[int, ...], where: str) -> None:
    """Refuse stages without a size, and sizes without a stage.

    Raises:
        RangeError: there are more of the one than of the other, or none.
    """
    if len(depths) != len(sizes) or not depths or 0 in sizes:
        raise RangeError(
            "as many depths as hidden_sizes, at least one, and no size of 0", got=f"{depths} and {sizes}",
            fix="give one of each for a stage", where=where,
        )  # fmt: skip


@lru_cache(maxsize=256)
def _hints(cls: type[Config]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


def _classes(entries: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The classes by their names, or by their number."""
    named = entries.get("id2label")
    if not isinstance(named, dict) or not named:
        count = _checked("num_labels", entries.get("num_labels", 2), int, where)
        return {"classes": count}
    try:
        labels = tuple(str(named[key]) for key in sorted(named, key=int))
    except ValueError as error:
        raise OptionError(
            "id2label by number", got=str(error)[:200], fix="fetch config.json again", where=where
        ) from error
    plain = labels == tuple(f"LABEL_{i}" for i in range(len(labels)))
    return {"classes": len(labels), "labels": () if plain else labels}


def _checked(key: str, value: Any, hint: Any, where: str) -> Any:
    """A value as its field has it.

    Raises:
        OptionError: of another type.
        RangeError: a size beyond reason.
    """
    for kind in typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,):
        if (found := _as(value, kind)) is not MISSING:
            _check_range(key, found, where)
            return found
    raise OptionError(
        f"{key} as {getattr(hint, '__name__', hint)}", got=repr(value)[:200], fix="look at config.json", where=where
    )


def _as(value: Any, kind: Any) -> Any:
    """A JSON value as a kind; MISSING where it is none."""
    if typing.get_origin(kind) is tuple:
        (item, *_) = typing.get_args(kind)
        items = [_as(v, item) for v in value] if isinstance(value, list | tuple) else [MISSING]
        return MISSING if MISSING in items else tuple(items)
    if typing.get_origin(kind) is dict:
        return value if isinstance(value, dict) else MISSING
    if isinstance(kind, type) and issubclass(kind, Config):
        return kind.from_dict(value) if isinstance(value, dict) else MISSING
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < _ENDLESS else math.inf
    if kind is type(None):
        return None if value is None else MISSING
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    return value if fits else MISSING


def _plain(value: Any) -> Any:
    """A field as JSON has it: the entries of a config within."""
    if isinstance(value, Config):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else copy.deepcopy(value)


def _check_range(key: str, value: Any, where: str) -> None:
    most = DEEPEST if key in _COUNTS else _LARGEST
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, float) and not math.isfinite(number):
            raise RangeError(f"{key} as a finite number", got=str(number), fix="look at config.json", where=where)
        if isinstance(number, int) and not isinstance(number, bool) and not 0 <= number <= most:
            raise RangeError(f"{key} from 0 to {most}", got=str(number)[:40], fix="look at config.json", where=where)
    if key in _COUNTS and isinstance(value, tuple) and sum(value) > DEEPEST:
        raise RangeError(
            f"at most {DEEPEST} blocks in {key}", got=str(sum(value)), fix="look at config.json", where=where
        )


def _warn_of_unknown(cls: type[Config], entries: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    known = {*hints, *_NEUTRAL, *cls.neutral, *cls.fixed, "model_type"}
    unknown = sorted(key for key in entries if key not in known)
    if unknown:
        warnings.warn(
            f"{cls.__name__}: config.json has entries that Phlox does not know, and goes on without: "
            f"{', '.join(unknown)[:300]}",
            stacklevel=stack_level(),
        )
