"""One checkpoint on the disk: arrays by Orbax, everything else as JSON, and a manifest with a checksum of each file.

    0007-step-350/
        arrays/          every array, written by Orbax in the background
        state.json       what is no array: counters, history, the loader's position, callbacks, names of the arrays
        manifest.json    SHA-256 and length of every file, and of itself; written last

The folder has another name, which begins with a dot, until the manifest is in it and all is flushed to the disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import MissingExtraError, PhloxError, StructureError
from phlox.loop.checkpoints._manifest import ARRAYS, STATE, check_files, check_still_there, damaged, lost
from phlox.loop.checkpoints._plain_state import decoded

State = dict[str, Any]  # what ``Run.state`` gives: {"arrays": nested dicts of arrays, "values": JSON-able}


def of_this_process(ocp: Any) -> Any:
    """Options by which Orbax writes and reads in this process alone, without waiting for others."""
    number = jax.process_index()
    names = f"phlox{number}" if jax.process_count() > 1 else None
    active = {number} if jax.process_count() > 1 else None
    return ocp.options.MultiprocessingOptions(
        primary_host=number, active_processes=active, barrier_sync_key_prefix=names
    )


def orbax() -> Any:
    """The package that writes arrays, or the extra that is missing.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import orbax.checkpoint  # slow to import, and an extra
    except ImportError:
        raise MissingExtraError(
            "orbax-checkpoint", got="none", fix='pip install "phlox[checkpoint]"', where="Checkpoint"
        ) from None
    return orbax.checkpoint


# --- out ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """A run as it was: arrays that nothing will overwrite, and the text of everything else."""

    arrays: dict[str, Any]  # for Orbax, by number
    text: str

    @classmethod
    def of(cls, state: State) -> Snapshot:
        """Take what ``run.state()`` gave.

        Raises:
            StructureError: a callback keeps something that JSON does not have.
        """
        arrays, entries = {}, []
        for path, value in _leaves(state["arrays"], ()):
            entry: dict[str, Any] = {"path": path}
            if value is None:
                pass  # a dict with nothing in it
            elif value.size:  # Orbax has no arrays without elements
                entry["number"] = str(len(arrays))
                arrays[entry["number"]] = _kept(value)
            else:
                entry["empty"] = [value.dtype.name, list(value.shape)]
            entries.append(entry)
        whole = {"arrays": entries, "values": state["values"]}
        try:
            text = json.dumps(whole, default=_plain)
        except (TypeError, ValueError) as error:
            raise StructureError(
                "state that is arrays and JSON",
                got=str(error),
                fix="let the callback's state() return numbers, text, lists, dicts by text, and arrays",
                where="Checkpoint",
            ) from error
        return cls(arrays, text)


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
    if not isinstance(value, jax.Array) or not value.is_fully_addressable:  # of several processes, one writes
        return np.array(value)
    on_cpu = all(device.platform == "cpu" for device in value.devices())
    return np.array(value) if on_cpu else value


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} {str(value)[:60]!r}")


# --- in -------------------------------------------------------------------------------------------


def read_state(folder: Path, parts: tuple[str, ...] | None = None) -> State:
    """The state in a checkpoint, arrays as NumPy's; only some ``parts`` of it where they are named.

    Raises:
        CorruptFileError: a file is missing or not as it was written.
        MissingFileError: there is no such checkpoint, or it was deleted while it was read.
    """
    manifest = check_files(folder)
    try:
        whole = json.loads((folder / STATE).read_text(encoding="utf-8"))
        entries = [entry for entry in _checked(whole, folder) if parts is None or entry["path"][0] in parts]
        numbered = _read_arrays(folder / ARRAYS, [e["number"] for e in entries if "number" in e])
        arrays: dict[str, Any] = {}
        for entry in entries:
            at = arrays
            for name in entry["path"][:-1]:
                at = at.setdefault(name, {})
            at[entry["path"][-1]] = _found(entry, numbered)
        _check_values(whole["values"], arrays, folder, parts)
    except (PhloxError, MemoryError):
        raise
    except Exception as error:  # Orbax has many
        text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise lost(folder, f"{STATE} and {ARRAYS}, which do not go together ({text})") from error
    check_still_there(folder, manifest)
    return {"arrays": arrays, "values": whole["values"]}


def _checked(whole: Any, folder: Path) -> list[dict[str, Any]]:
    """What ``state.json`` says of the arrays, in its right form."""
    if (
        not isinstance(whole, dict)
        or not isinstance(whole.get("arrays"), list)
        or not isinstance(whole["values"], dict)
    ):
        raise damaged(folder, f"{STATE}, which is no state")
    for entry in whole["arrays"]:
        path = entry["path"]
        good = isinstance(path, list) and len(path) > 0 and all(isinstance(name, str) for name in path)
        if "number" in entry:
            good = good and isinstance(entry["number"], str) and entry["number"].isdecimal()
        elif "empty" in entry:
            _, shape = entry["empty"]
            good = good and all(type(n) is int and n >= 0 for n in shape) and 0 in shape
        if not good:
            raise damaged(folder, f"{STATE}, which says {repr(entry)[:100]} of an array")
    return whole["arrays"]


def _check_values(values: dict[str, Any], arrays: dict[str, Any], folder: Path, parts: tuple[str, ...] | None) -> None:
    """Refuse values that a run could not take, before it has taken the first of them."""
    for part, kinds in values["keys"].items():
        for path, kind in kinds.items():
            if part in arrays:
                jax.random.wrap_key_data(jnp.asarray(arrays[part][path]), impl=kind)
    if parts is not None:
        return
    for name in ("epoch", "batch", "step", "examples"):
        if type(values[name]) is not int or values[name] < 0:
            raise damaged(folder, f"{STATE}, whose {name!r} is {repr(values[name])[:60]}")
    for name, kinds in (
        ("epoch_over", bool),
        ("seconds", (int, float)),
        ("callbacks", dict),
        ("seed", (int, type(None))),
    ):
        if not isinstance(values[name], kinds):
            raise damaged(folder, f"{STATE}, whose {name!r} is {repr(values[name])[:60]}")
    for name in ("logs", "row", "history", "loader"):
        decoded(values.get(name, {}), arrays["history"])
    for name, state in values["callbacks"].items():
        decoded(state, arrays.get(f"{name}.state", {}))


def _found(entry: dict[str, Any], numbered: dict[str, Any]) -> Any:
    """What stands at an entry's path."""
    if "number" in entry:
        return numbered[entry["number"]]
    if "empty" in entry:
        name, shape = entry["empty"]
        return np.zeros(shape, jnp.dtype(name))
    return {}


def _read_arrays(folder: Path, numbers: list[str]) -> dict[str, Any]:
    """Arrays by their numbers, each whole on the host, whatever devices it was on."""
    if not numbers:
        return {}
    ocp = orbax()
    alone = of_this_process(ocp)
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    checkpointer = ocp.Checkpointer(handler, multiprocessing_options=alone)
    try:
        return checkpointer.restore(
            folder.absolute(),
            args=ocp.args.PyTreeRestore(
                item=dict.fromkeys(numbers, 0),
                restore_args=dict.fromkeys(numbers, ocp.RestoreArgs(restore_type=np.ndarray)),
                partial_restore=True,
            ),
        )
    finally:
        checkpointer.close()
