"""What slots take, told before anything is made, and which models they suit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp

from phlox.adapt import Prefix
from phlox.core import RangeError, bytes_text, describe, eval_shape, modules
from phlox.loop import NotEnoughMemoryError, available_memory
from phlox.models import WRITING
from phlox.nn import KVCache, RotaryEmbedding, SlotCache

WHERE = "LanguageEngine"
SLOTS, MOST_SLOTS = 8, 64
LONGEST = 2048  # tokens of a slot, where nothing else is asked for


@dataclass(frozen=True)
class Sizes:
    """Slots, the tokens of each, and for each block heads of keys and values with their features and dtype."""

    slots: int
    room: int
    heads: tuple[tuple[int, int], ...]
    dtypes: tuple[Any, ...]

    @property
    def bytes_of_slot(self) -> int:
        """Bytes of keys and values of one text."""
        room = SlotCache.whole_blocks(self.room)
        pairs = zip(self.heads, self.dtypes, strict=True)
        return sum(2 * room * math.prod(heads) * jnp.dtype(dtype).itemsize for heads, dtype in pairs)

    @property
    def bytes(self) -> int:
        """Bytes of keys and values of all."""
        return self.slots * self.bytes_of_slot


def sizes_of(model: Any, slots: int | None, room: int | None, most_bytes: int | None) -> Sizes:
    """The slots for a model: as many as were asked for, and as fit.

    Raises:
        RangeError: a model that slots do not suit, or a size beyond what it can be.
        NotEnoughMemoryError: not one slot fits.
    """
    _check_writes(model)
    longest = _longest(model)
    room = min(longest or LONGEST, LONGEST) if room is None else _whole("room", room, 2)
    if longest is not None and room > longest:
        raise RangeError(f"room for at most {longest} tokens", got=str(room), fix="choose less", where=WHERE)
    _check_positions(model, room)
    caches = eval_shape(lambda one: one.init_cache(1, room, whole=True), model)
    if not isinstance(caches, list) or not all(type(one) is KVCache for one in caches):
        fix = "serve one of px.models' decoders; px.generate writes with the others"
        raise RangeError("a model whose cache is a KVCache for each block", got=describe(model), fix=fix, where=WHERE)
    found = Sizes(1, room, tuple(one.keys.shape[2:] for one in caches), tuple(one.keys.dtype for one in caches))
    return replace(found, slots=_count(found.bytes_of_slot, slots, most_bytes))


def _count(each: int, slots: int | None, most_bytes: int | None) -> int:
    if most_bytes is None:
        count = SLOTS if slots is None else _whole("slots", slots, 1)
        free = available_memory()
        if free is not None and count * each > free:
            raise NotEnoughMemoryError(
                f"{bytes_text(count * each)} for {count} slots", got=f"{bytes_text(free)} free", where=WHERE,
                fix="ask for fewer slots or less room, or let memory= choose how many",
            )  # fmt: skip
        return count
    fits = _whole("memory", most_bytes, 1) // each
    if not fits:
        raise NotEnoughMemoryError(
            f"{bytes_text(each)} for a slot at least", got=f"memory={bytes_text(most_bytes)}",
            fix="give more, or less room", where=WHERE,
        )  # fmt: skip
    return min(fits, MOST_SLOTS if slots is None else _whole("slots", slots, 1))


def _check_writes(model: Any) -> None:
    task = getattr(getattr(model, "config", None), "task", None)
    if task != WRITING or not all(hasattr(model, name) for name in ("features", "scores", "init_cache")):
        got = type(model).__name__ if task is None else f"{type(model).__name__} for {task!r}"
        fix = f"load a decoder with task={WRITING!r}"
        raise RangeError("a decoder that scores the next token", got=got, fix=fix, where=WHERE)
    if any(isinstance(one, Prefix) for one in modules(model).values()):
        fix = "serve a model without it; other kinds of adapters are served"
        raise RangeError("adapters that change layers", got="a prefix", fix=fix, where=WHERE)


def _longest(model: Any) -> int | None:
    """Tokens of the longest text that a model is made for."""
    found = getattr(model, "longest", None)
    return getattr(model.config, "max_position_embeddings", None) if found is None else found


def _check_positions(model: Any, room: int) -> None:
    """Refuse positions that depend on how long other texts are."""
    for one in modules(model).values():
        scaling = (one.scaling or {}) if isinstance(one, RotaryEmbedding) else {}
        original = scaling.get("original_max_position_embeddings", room)
        if scaling.get("rope_type", scaling.get("type")) in ("dynamic", "longrope") and room > original:
            fix = f"pass room={int(original)}, or less"
            expected = f"room for at most {int(original)} tokens, beyond which this model turns all positions otherwise"
            raise RangeError(expected, got=str(room), fix=fix, where=WHERE)


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        fix = f"choose {least} or more"
        raise RangeError(f"{name} as a whole number of at least {least}", got=repr(value)[:60], fix=fix, where=WHERE)
    return value
