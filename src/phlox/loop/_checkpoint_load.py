"""What a checkpoint holds, put into a run or into a model."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import jax

from phlox.core import LoadReport, Module, RangeError, load_state_dict
from phlox.loop._checkpoint import Checkpoint
from phlox.loop._checkpoint_files import Saved, check_files, damaged
from phlox.loop._checkpoint_store import CheckpointStore
from phlox.weights import FileError

if TYPE_CHECKING:
    from phlox.loop._run import Run

Choice = bool | str | os.PathLike[str]


def resume_run(run: Run, folder: str | os.PathLike[str], resume: Choice = True) -> Saved | None:
    """Bring a run to where a checkpoint stands, before it starts; None where nothing was saved yet.

    Arguments:
        run: the run, built as the saved one was.
        folder: of the checkpoints.
        resume: True for the newest that is whole, ``"best"``, or the folder of one, which its name alone may tell.

    Raises:
        FileError: there is no checkpoint of this name.
        CorruptFileError: the named checkpoint is damaged, or all are.
        StructureError: the checkpoint is of another model, optimiser or set of metrics; the run is as it was.
    """
    writers = [c.store for c in run.callbacks if isinstance(c, Checkpoint) and c.store.folder == Path(folder)]
    store = writers[0] if writers else CheckpointStore(folder)  # the writer is to know what is damaged
    saved = _chosen(store, resume, "px.fit(resume=…)")
    if saved is None:
        print(f"nothing to resume from in {os.fspath(folder)!r}: training starts anew", file=sys.stderr, flush=True)
    else:
        run.restore(store.read(saved))
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

    What is shared in the model stays shared. For a model that changed since, ``strict=False`` loads what fits, and the
    report says by path what is missing, unexpected, or of another shape or dtype.

    Arguments:
        model: the model to fill.
        folder: of the checkpoints, the ``checkpoint_dir`` of ``px.fit``.
        which: ``"newest"``, ``"best"``, or the folder of one checkpoint, which may be told by its name alone.
        strict: refuse anything missing, unexpected or mismatched; else load what fits, and report the rest.
        part: what of the checkpoint: ``"model"``, or a Module of a callback, such as ``"EMA.average"``.

    Raises:
        FileError: there is no checkpoint.
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
    store = CheckpointStore(folder)
    saved = _chosen(store, which, where)
    if saved is None:
        raise damaged(Path(folder), "no checkpoint" + (" with a score" if which == "best" else ""))
    state = store.read(saved, (part,))
    if part not in state["arrays"]:
        known = sorted(set(store.read(saved)["arrays"]) - {"history"})
        raise RangeError(
            "a part of the checkpoint", got=repr(part), fix=f"choose among {', '.join(known)}", where=where
        )
    arrays = state["arrays"][part]
    for path, kind in state["values"]["keys"].get(part, {}).items():
        arrays[path] = jax.random.wrap_key_data(arrays[path], impl=kind)
    return load_state_dict(model, arrays, strict=strict)


def _chosen(store: CheckpointStore, which: Choice, where: str) -> Saved | None:
    """The checkpoint that the user asks for."""
    if isinstance(which, bool) or which == "newest":
        return store.newest()
    if which == "best":
        return store.best()
    path = next((p for p in (Path(which), store.folder / which) if p.is_dir()), None)
    if path is None:
        there = ", ".join(saved.path.name for saved in store.checkpoints())
        raise FileError(
            'the newest checkpoint, "best", or the folder of one',
            got=f"{os.fspath(which)!r}, which does not exist",
            fix=f"choose among {there}" if there else f"look into {os.fspath(store.folder)!r}: it holds no checkpoint",
            where=where,
        )
    return Saved(path, check_files(path))
