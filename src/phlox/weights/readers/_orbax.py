"""Orbax's folders, restored by Orbax as NumPy arrays, whatever devices they were on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from phlox.weights.readers._arrays import Arrays, Part, Spec
from phlox.weights.readers._refusing import FilePath, check_sizes, checked_spec, corrupt, damage, package
from phlox.weights.readers._trees import flattened, in_words

MARK = "_METADATA"  # a file that Orbax writes beside the arrays of a tree


def read_orbax(path: FilePath, where: str) -> Arrays:
    """The arrays of a checkpoint, nested names joined by ``/``; restored together when the first is asked for."""
    with _checkpointer(where) as (_, checkpointer):
        tree = _told(checkpointer, path, where)
    leaves = flattened(tree, where)
    with damage("a whole checkpoint of Orbax", where, TypeError, ValueError):
        specs = {
            name: checked_spec(tuple(leaf.shape), np.dtype(leaf.dtype))
            for name, leaf in leaves.items()
            if _is_array(leaf)
        }
    stored = sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())
    check_sizes(sum(spec.nbytes for spec in specs.values()), stored, where)
    part = Part(os.path.basename(path), lambda: _restored(path, specs, where), specs)
    return Arrays(path, "orbax", [part], left_out=[in_words(n, leaf) for n, leaf in leaves.items() if n not in specs])


@contextmanager
def _checkpointer(where: str) -> Iterator[tuple[Any, Any]]:
    """Orbax, and one of its readers."""
    ocp = package("orbax.checkpoint", 'pip install "phlox[checkpoint]"', where)
    with closing(ocp.Checkpointer(ocp.PyTreeCheckpointHandler())) as checkpointer:
        yield ocp, checkpointer


def _told(checkpointer: Any, path: FilePath, where: str) -> Any:
    """What the checkpoint says that it holds."""
    with damage("a whole checkpoint of Orbax", where, Exception):  # it has many
        return checkpointer.metadata(Path(path).absolute()).item_metadata.tree


def _is_array(leaf: Any) -> bool:
    return getattr(leaf, "shape", None) is not None and getattr(leaf, "dtype", None) is not None


def _restored(path: FilePath, specs: dict[str, Spec], where: str) -> dict[str, np.ndarray]:
    """All arrays, as their metadata said."""
    import jax

    with _checkpointer(where) as (ocp, checkpointer):
        as_numpy, as_it_is = ocp.RestoreArgs(restore_type=np.ndarray), ocp.RestoreArgs()
        told = _told(checkpointer, path, where)
        arguments = jax.tree.map(lambda leaf: as_numpy if _is_array(leaf) else as_it_is, told)
        with damage("a whole checkpoint of Orbax", where, Exception):
            tree = checkpointer.restore(Path(path).absolute(), args=ocp.args.PyTreeRestore(restore_args=arguments))
    leaves = flattened(tree, where)
    found = {name: np.asarray(leaves[name]) for name in specs if name in leaves}
    for name, spec in specs.items():
        if name not in found or Spec.of(found[name]) != spec:
            raise corrupt(f"{name} as {spec}", repr(found.get(name)), where)
        found[name].flags.writeable = False
    return found
