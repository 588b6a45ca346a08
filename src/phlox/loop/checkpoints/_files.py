"""One checkpoint on the disk: arrays by Orbax, everything else as JSON, and a manifest with a checksum of each file.

    0007-step-350/
        arrays/          every array, written by Orbax in the background, by several processes in parts
        state.json       what is no array: counters, history, the loader's position, callbacks, names of the arrays
        manifest.json    SHA-256 and length of every file, and of itself; written last

The folder has another name, which begins with a dot, until the manifest is in it and all is flushed to the disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import PhloxError
from phlox.loop.checkpoints._arrays import read_arrays
from phlox.loop.checkpoints._manifest import ARRAYS, STATE, check_files, check_still_there, damaged, lost, manifest_of
from phlox.loop.checkpoints._plain_state import decoded
from phlox.loop.checkpoints._snapshot import State

Lies = Callable[[list[str], jax.ShapeDtypeStruct], Any]
"""Where an array of a state is to lie, by its path and form: a sharding; None for whole, on the host."""


def read_state(
    folder: Path, parts: tuple[str, ...] | None = None, lies: Lies | None = None, *, checked: bool = False
) -> State:
    """The state in a checkpoint, arrays as NumPy's; only some ``parts`` of it where they are named.

    Arguments:
        lies: where arrays are to lie; of those that lie over several devices this process reads its parts alone.
        checked: the files were compared with their checksums just now.

    Raises:
        CorruptFileError: a file is missing or not as it was written.
        MissingFileError: there is no such checkpoint, or it was deleted while it was read.
    """
    manifest = manifest_of(folder) if checked else check_files(folder)
    try:
        whole = json.loads((folder / STATE).read_text(encoding="utf-8"))
        entries = [entry for entry in _checked(whole, folder) if parts is None or entry["path"][0] in parts]
        numbered = read_arrays(folder / ARRAYS, {e["number"]: _wanted(e, lies) for e in entries if "number" in e})
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
            good = good and ("form" not in entry or _is_form(entry["form"]))
        elif "empty" in entry:
            good = good and _is_form(entry["empty"]) and 0 in entry["empty"][1]
        if not good:
            raise damaged(folder, f"{STATE}, which says {repr(entry)[:100]} of an array")
    return whole["arrays"]


def _is_form(form: Any) -> bool:
    """Whether this is the name of a dtype and a shape."""
    name, shape = form
    return isinstance(name, str) and all(type(n) is int and n >= 0 for n in shape)


def _wanted(entry: dict[str, Any], lies: Lies | None) -> jax.ShapeDtypeStruct | None:
    """Where an array is to come, and in which form; None for whole, to the host. Older checkpoints tell no form."""
    if lies is None or "form" not in entry:
        return None
    name, shape = entry["form"]
    form = jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(name))
    where = lies(entry["path"], form)
    return None if where is None else jax.ShapeDtypeStruct(form.shape, form.dtype, sharding=where)


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
