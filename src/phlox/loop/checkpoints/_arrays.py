"""The arrays of a checkpoint on the disk, by Orbax: written in the background, each process its part; read in parts.

Of several processes each writes a part of every array that is cut, and of what lies whole in all a share. The parts are
folders of their own, which process 0 makes one by an index over them: nothing is written twice, and who reads sees no
difference. Out of an object store, where no process has all parts, they come as they were, and who reads makes the
index. None of Orbax's barriers is used: what the processes have to tell each other goes through ``Circle``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from phlox.core import MissingExtraError
from phlox.loop.checkpoints._circle import Circle

_PART, _INDEX = "ocdbt.process_{}", "manifest.ocdbt"  # as Orbax calls a process's part, and what makes one of them


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


def of_this_process(ocp: Any) -> Any:
    """Options by which Orbax writes and reads in this process alone, without waiting for others."""
    number = jax.process_index()
    names = f"phlox{number}" if jax.process_count() > 1 else None
    active = {number} if jax.process_count() > 1 else None
    return ocp.options.MultiprocessingOptions(
        primary_host=number, active_processes=active, barrier_sync_key_prefix=names
    )


# --- out ------------------------------------------------------------------------------------------


class Writer:
    """Writes arrays that this process has, in the background."""

    def __init__(self) -> None:
        ocp = orbax()
        alone = of_this_process(ocp)
        handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
        self._args, self._checkpointer = ocp.args, ocp.AsyncCheckpointer(handler, multiprocessing_options=alone)

    def begin(self, folder: Path, arrays: Mapping[str, Any]) -> None:
        """Begin to write; what lies on other devices than CPUs is on the host before this returns."""
        self._checkpointer.save(folder.absolute(), args=self._args.PyTreeSave(dict(arrays)))

    def wait(self) -> None:
        """Wait until all is written."""
        self._checkpointer.wait_until_finished()

    def close(self) -> None:
        """Let go of threads."""
        self._checkpointer.close()


class PartWriter:
    """Writes this process's part of arrays that lie over several, in the thread that calls it."""

    def __init__(self) -> None:
        from etils import epath  # comes with Orbax

        ocp = orbax()
        kinds = ocp.type_handlers
        here = kinds.ArrayHandler(use_replica_parallel=False, enable_write_sharding_file=False)  # see ``shared_out``
        known = kinds.create_type_handler_registry((np.ndarray, kinds.NumpyHandler()), (jax.Array, here))
        self._handler = ocp.PyTreeCheckpointHandler(type_handler_registry=known)
        self._args, self._path = ocp.args, epath.Path

    def write(self, folder: Path, arrays: Mapping[str, Any], copied: Event) -> None:
        """Write; ``copied`` is set once all is on the host."""
        folder.mkdir(parents=True, exist_ok=True)
        begun = self._handler.async_save(self._path(folder.absolute()), args=self._args.PyTreeSave(dict(arrays)))
        futures = asyncio.run(begun)
        copied.set()
        for future in futures or []:
            future.result()

    def join(self, folder: Path) -> None:
        """Make one of the parts of all processes, which are there."""
        self._handler.finalize(self._path(folder.absolute()))

    def close(self) -> None:
        """Let go of threads."""
        self._handler.close()


def own_files(folder: Path, process: int) -> list[Path]:
    """The files that a process has written of its part, whatever else is there."""
    return sorted(path for path in (folder / _PART.format(process)).rglob("*") if path.is_file())


def shared_out(values: Sequence[Any], circle: Circle) -> list[Any]:
    """Arrays over several processes as they are now, and the work of writing them shared out.

    Of what several devices hold alike the first of them writes. Which that is goes round, so that no process has more
    to write than the others: the next array is for the one that has fewest bytes so far.
    """
    loads, found = [0] * circle.processes, []
    for value in values:
        turn = loads.index(min(loads))
        where = turned(value.sharding, turn, circle.processes)
        if where is not value.sharding:
            loads[turn] += value.nbytes
        found.append(_copied(value, where))
    return found


def turned(sharding: Any, turn: int, processes: int) -> Any:
    """The same parts on the same devices, with another one the first of those that hold a part alike.

    Arguments:
        turn: which process's devices come first, where each process holds all parts.
    """
    if not isinstance(sharding, NamedSharding):
        return sharding
    mesh, spec = sharding.mesh, sharding.spec
    used = {name for entry in spec if entry for name in (entry if isinstance(entry, tuple) else (entry,))}
    free = [n for n, name in enumerate(mesh.axis_names) if name not in used]
    devices: Any = np.moveaxis(np.asarray(mesh.devices), free, range(len(free)))
    copies = int(np.prod(devices.shape[: len(free)], dtype=int))
    if copies == 1:
        return sharding
    rolled = np.roll(devices.reshape(copies, -1), -(turn * copies // processes), axis=0).reshape(devices.shape)
    laid = np.moveaxis(rolled, range(len(free)), free)
    return NamedSharding(Mesh(laid, mesh.axis_names, axis_types=mesh.axis_types), spec)


def _copied(value: jax.Array, where: Any) -> jax.Array:
    """An array with other devices first; on CPUs a copy, as the next step writes to the memory that it has."""
    copies: dict[str, Any] = {}
    held = []
    for shard in value.addressable_shards:
        data = shard.data
        if shard.device.platform == "cpu":
            at = str(shard.index)
            if at not in copies:
                copies[at] = np.array(data)
            data = jax.device_put(copies[at], shard.device)
        held.append(data)
    return jax.make_array_from_single_device_arrays(value.shape, where, held)


# --- in -------------------------------------------------------------------------------------------


def read_arrays(folder: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by their names.

    Arguments:
        wanted: None for one that is to come whole, to the host; else a ``jax.ShapeDtypeStruct`` with a sharding, of
            which this process reads what its devices hold.
    """
    if not wanted:
        return {}
    _join_parts(folder)
    ocp = orbax()
    alone = of_this_process(ocp)
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    checkpointer = ocp.Checkpointer(handler, multiprocessing_options=alone)
    how = {name: _how(ocp, form) for name, form in wanted.items()}
    try:
        return checkpointer.restore(
            folder.absolute(),
            args=ocp.args.PyTreeRestore(item=dict.fromkeys(wanted, 0), restore_args=how, partial_restore=True),
        )
    finally:
        checkpointer.close()


def _join_parts(folder: Path) -> None:
    """Make one of parts that nobody has made one of."""
    if not (folder / _INDEX).exists() and any(folder.glob(_PART.format("*"))):
        writer = PartWriter()
        try:
            writer.join(folder)
        finally:
            writer.close()


def _how(ocp: Any, form: Any) -> Any:
    if form is None:
        return ocp.RestoreArgs(restore_type=np.ndarray)
    return ocp.ArrayRestoreArgs(
        restore_type=jax.Array, sharding=form.sharding, global_shape=form.shape, dtype=form.dtype
    )
