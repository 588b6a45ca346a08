"""What a checkpoint holds, put into a run or into a model."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from phlox.core import LoadReport, Module, RangeError, load_state_dict, paths
from phlox.loop.checkpoints._checkpoint import Checkpoint
from phlox.loop.checkpoints._circle import ALONE, Circle, Together
from phlox.loop.checkpoints._manifest import MANIFEST, Saved
from phlox.loop.checkpoints._place import address_of
from phlox.loop.checkpoints._places import Places, laid
from phlox.loop.checkpoints._snapshot import State
from phlox.loop.checkpoints._store import CheckpointStore
from phlox.optim import Optimizer, joined
from phlox.parallel import group
from phlox.weights import MissingFileError

if TYPE_CHECKING:
    from phlox.loop._run import Run

Choice = bool | str | os.PathLike[str]
_LOOKS = 20  # at a folder whose checkpoints are deleted while they are read


def resume_run(run: Run, folder: str | os.PathLike[str], resume: Choice = True) -> Saved | None:
    """Bring a run to where a checkpoint stands, before it starts; None where nothing was saved yet.

    Arguments:
        run: the run, built as the saved one was.
        folder: of the checkpoints.
        resume: True for the newest that is whole, ``"best"``, or the folder of one, which its name alone may tell.

    Raises:
        MissingFileError: there is no checkpoint of this name, or none with a score to be the best.
        CorruptFileError: the named checkpoint is damaged, or all are.
        StructureError: the checkpoint is of another model, optimiser or set of metrics; the run is as it was.
    """
    writers = [c.store for c in run.callbacks if isinstance(c, Checkpoint) and c.store.address == address_of(folder)]
    store = writers[0] if writers else CheckpointStore(folder)  # the writer is to know what is damaged
    store.among(run.together.circle)
    where = "px.fit(resume=…)"
    chosen = _read(store, resume, None, where, run.places())
    if chosen is None:
        if store.checkpoints():
            raise _none_there(store, resume, where)
        text = f"nothing to resume from in {os.fspath(folder)!r}: training starts anew"
        if run.together.first:
            print(text, file=sys.stderr, flush=True)
        return None
    saved, state = chosen
    run.restore(state)
    return saved


def load_checkpoint(
    model: Module,
    folder: str | os.PathLike[str],
    *,
    which: Choice = "newest",
    strict: bool = True,
    part: str = "model",
) -> LoadReport:
    """Fill a model, in place, from a checkpoint; all is checked by path before the first array is written.

    A model that is spread over devices stays so, and each process reads what its devices hold; where it lies over
    several processes, all of them call this.

    What is shared in the model stays shared. For a model that changed since, ``strict=False`` loads what fits, and the
    report says by path what is missing, unexpected, or of another shape or dtype.

    Arguments:
        model: the model to fill.
        folder: of the checkpoints, the ``checkpoint_dir`` of ``px.fit``.
        which: ``"newest"``, ``"best"``, or the folder of one checkpoint, which may be told by its name alone.
        strict: refuse anything missing, unexpected or mismatched; else load what fits, and report the rest.
        part: what of the checkpoint: ``"model"``, or a Module of a callback, such as ``"EMA.average"``.

    Raises:
        MissingFileError: there is no checkpoint.
        CorruptFileError: the named checkpoint is damaged, or all are.
        RangeError: a part that the checkpoint does not have.
        StructureError: with ``strict``, the checkpoint is of another model; the model is as it was.

    >>> import tempfile, jax.numpy as jnp, phlox as px
    >>> model, other = px.Dense(1, 1), px.Dense(1, 1, bias=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     history = px.fit(model, [(jnp.ones((4, 1)), jnp.ones((4, 1)))], loss=px.losses.mse,
    ...                      optimizer=px.optim.Adam(0.1), checkpoint_dir=folder, progress=False)
    ...     print(px.load_checkpoint(other, folder, strict=False))
    loaded 1 arrays
      unexpected: bias
    """
    where = f"px.load_checkpoint({os.fspath(folder)!r})"
    store, there = CheckpointStore(folder), paths(model)
    store.among(_circle_of(there, where))
    chosen = _read(store, which, (part,), where, Places({part: there}))
    if chosen is None:
        raise _none_there(store, which, where)
    saved, state = chosen
    if part not in state["arrays"]:
        known = sorted(set(store.read(saved)["arrays"]) - {"history"})
        raise RangeError(
            "a part of the checkpoint", got=repr(part), fix=f"choose among {', '.join(known)}", where=where
        )
    arrays = state["arrays"][part]
    for path, kind in state["values"]["keys"].get(part, {}).items():
        arrays[path] = jax.random.wrap_key_data(arrays[path], impl=kind)
    if isinstance(model, Optimizer):
        arrays = joined(model, arrays)
    several = {path for path, v in there.items() if isinstance(v, jax.Array) and len(v.sharding.device_set) > 1}
    arrays = {path: laid(v, there[path]) if path in several else v for path, v in arrays.items()}
    return load_state_dict(model, arrays, strict=strict)


def _circle_of(arrays: dict[str, Any], where: str) -> Circle:
    """The processes that arrays lie over."""
    found = group()
    if found is None or all(not isinstance(v, jax.Array) or v.is_fully_addressable for v in arrays.values()):
        return ALONE
    return Together(found, found.meeting(), where)


def _read(
    store: CheckpointStore, which: Choice, parts: tuple[str, ...] | None, where: str, places: Places
) -> tuple[Saved, State] | None:
    """The checkpoint that the user asks for, and what it holds; chosen anew where a training deletes it meanwhile."""
    if store.folder.is_file():
        raise _none_there(store, which, where)
    for look in range(_LOOKS):
        saved = _chosen(store, which, where)
        if saved is None:
            return None
        try:
            return saved, store.taken(saved, parts, places)
        except MissingFileError:
            if look == _LOOKS - 1 or not _is_a_rule(which):
                raise
    return None


def _is_a_rule(which: Choice) -> bool:
    """Whether a checkpoint is told by its age or its score, and not by its name."""
    return isinstance(which, bool) or which in ("newest", "best")


def _chosen(store: CheckpointStore, which: Choice, where: str) -> Saved | None:
    """The checkpoint that the user asks for."""
    if which == "best":
        return store.best()
    if isinstance(which, bool) or which == "newest":
        return store.newest()
    path = store.find(which)
    if path is None:
        there = ", ".join(saved.path.name for saved in store.checkpoints())
        raise MissingFileError(
            'the newest checkpoint, "best", or the folder of one',
            got=f"{os.fspath(which)!r}, which does not exist",
            fix=f"choose among {there}" if there else f"look into {store.address!r}: it holds no checkpoint",
            where=where,
        )
    return store.named(path)


def _none_there(store: CheckpointStore, which: Choice, where: str) -> MissingFileError:
    """The error of a folder without the checkpoint that is asked for: what is there, and what to type."""
    folder = store.folder
    saved = store.checkpoints() if folder.is_dir() else []
    if saved and which == "best":
        error = MissingFileError(
            "a checkpoint with a score", got=f"{len(saved)} without one in {store.address!r}",
            fix='take the newest, or give the training keep_best and a number that it logs as the monitor', where=where,
        )  # fmt: skip
    else:
        nothing = "none", "check the address: it is what px.fit(…, checkpoint_dir=…) was given"
        got, fix = _what_is_there(folder) if store.on_disk else nothing
        error = MissingFileError(f"checkpoints in {store.address!r}", got=got, fix=fix, where=where)
    error.errno, error.filename = errno.ENOENT, store.address
    return error


def _what_is_there(folder: Path) -> tuple[str, str]:
    """What is where checkpoints were looked for, and the cure."""
    if not folder.exists():
        beside = _names(folder.parent)
        there = f"{os.fspath(folder.parent)!r} holds {beside}" if beside else "the folder around it holds nothing"
        return "a folder that does not exist", f"check the path: {there}"
    if not folder.is_dir():
        return "a file", "fill the model from a file of weights with px.weights.load_safetensors(model, path)"
    if (folder / MANIFEST).exists():
        name, around = folder.name, os.fspath(folder.parent)
        return "a checkpoint itself", f"pass the folder around it: load_checkpoint(model, {around!r}, which={name!r})"
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and CheckpointStore(path).checkpoints())
    if inner:
        return (
            f"none there, but some below: {_names(folder)}",
            f"choose the folder of one training: {os.fspath(inner[0])!r}",
        )
    names = _names(folder)
    return (
        f"only {names}" if names else "an empty folder",
        "pass the folder that px.fit(…, checkpoint_dir=folder) was given; it saves at the end of the first epoch",
    )


def _names(folder: Path, most: int = 5) -> str:
    """The first names in a folder."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:
        return ""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
