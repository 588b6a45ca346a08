"""A run as it was at one instant: arrays that nothing will overwrite, and the text of everything else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from phlox.core import StructureError, describe
from phlox.loop.checkpoints._arrays import shared_out
from phlox.loop.checkpoints._circle import ALONE, Circle

State = dict[str, Any]  # what ``Run.state`` gives: {"arrays": nested dicts of arrays, "values": JSON-able}


@dataclass(frozen=True)
class Snapshot:
    """A run as it was.

    Attributes:
        arrays: for Orbax, by number; of several processes, what this one has a part of, and in process 0 the rest.
        text: everything else, and which array has which number.
        digest: of the arrays that several processes write, which must be the same in all of them.
    """

    arrays: dict[str, Any]
    text: str
    digest: str = ""

    @classmethod
    def of(cls, state: State, circle: Circle = ALONE) -> Snapshot:
        """Take what ``run.state()`` gave.

        Raises:
            StructureError: a callback keeps something that JSON does not have.
        """
        entries, values = _listed(state["arrays"])
        spread = [n for n in values if circle.several and _is_spread(values[n])]
        others = [n for n in values if n not in set(spread)]
        for number, n in enumerate([*spread, *others]):  # the same in every process for what is spread
            entries[n]["number"] = str(number)
        keep = np.array if circle.several else _kept  # Orbax takes no arrays of one among several
        arrays = {entries[n]["number"]: keep(values[n]) for n in others if circle.first}
        copies = shared_out([values[n] for n in spread], circle)
        arrays |= {entries[n]["number"]: copy for n, copy in zip(spread, copies, strict=True)}
        told = json.dumps([(entries[n]["path"], describe(values[n])) for n in spread])
        text = _as_text({"arrays": entries, "values": state["values"]})
        return cls(arrays, text, hashlib.sha256(told.encode()).hexdigest())

    @property
    def waits(self) -> bool:
        """Whether there are arrays that the next step may overwrite until they are on the host."""
        return any(d.platform != "cpu" for v in self.arrays.values() if isinstance(v, jax.Array) for d in v.devices())


def _listed(arrays: Any) -> tuple[list[dict[str, Any]], dict[int, Any]]:
    """An entry for each array, and by their places among these the arrays that have elements."""
    entries, values = [], {}
    for path, value in _leaves(arrays, ()):
        entry: dict[str, Any] = {"path": path}
        if value is not None:  # else a dict with nothing in it
            form = [value.dtype.name, list(value.shape)]
            entry |= {"form": form} if value.size else {"empty": form}  # Orbax has no arrays without elements
            if value.size:
                values[len(entries)] = value
        entries.append(entry)
    return entries, values


def _is_spread(value: Any) -> bool:
    """Whether an array lies over several processes."""
    return isinstance(value, jax.Array) and not value.is_fully_addressable


def _as_text(whole: dict[str, Any]) -> str:
    try:
        return json.dumps(whole, default=_plain)
    except (TypeError, ValueError) as error:
        raise StructureError(
            "state that is arrays and JSON",
            got=str(error),
            fix="let the callback's state() return numbers, text, lists, dicts by text, and arrays",
            where="Checkpoint",
        ) from error


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[list[str], Any]]:
    """Every array in nested dicts with the keys on the way to it; None stands for a dict with nothing in it."""
    if isinstance(value, dict):
        if not value and path:
            yield list(path), None
        for name, inner in value.items():
            yield from _leaves(inner, (*path, str(name)))
    elif isinstance(value, (jax.Array, np.ndarray, np.generic)):
        yield list(path), value
    else:
        raise StructureError(
            "arrays in dicts, by name",
            got=f"{type(value).__name__} at {' '.join(path)}",
            fix="let the callback's state() return each number and each array under a name of its own",
            where="Checkpoint",
        )


def _kept(value: Any) -> Any:
    """The array as it is now. On a CPU Orbax would read the very memory that the next step writes to."""
    if not isinstance(value, jax.Array) or not value.is_fully_addressable:  # whole in each process: this one writes
        return np.array(value)
    on_cpu = all(device.platform == "cpu" for device in value.devices())
    return np.array(value) if on_cpu else value


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} {str(value)[:60]!r}")
