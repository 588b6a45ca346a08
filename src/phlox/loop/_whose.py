"""Whose rows brought a loss or a gradient that is not finite: each process looks at its own, and all are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jax

from phlox.core import Module, NonFiniteError, copy, paths, write_arrays
from phlox.loop._together import Together, gathered
from phlox.loop._train import nonfinite_or_none
from phlox.loop.batches._batch import examples
from phlox.parallel import devices_by_part

Run = Any


def whose(run: Run, where: str) -> NonFiniteError:
    """The error of a step that is not finite, the same in all processes, which call this together.

    It names the first process whose rows, by themselves, give a loss or a gradient that is not finite, its machine,
    its device, the step, and the layer.

    Arguments:
        run: a training of several processes, behind that step; no step was taken since the model was as it is.
        where: who speaks.
    """
    together: Together = run.together
    where = f"{where}, step {run.step}"
    try:
        mine = _of_own_rows(run, together)
    except Exception as error:  # the others are told too, and wait for nobody
        mine = {"got": f"an error while its rows were looked at: {error}"}
    texts = together.group.gathered(f"{together.name}/not finite/{run.step}", json.dumps(mine), where, "the look")
    found = {n: json.loads(text) for n, text in enumerate(texts) if json.loads(text)}
    error = _error(where, found[min(found)]) if found else _of_nobody(where)
    if len(found) > 1:
        error.add_note(f"processes {', '.join(map(str, found))} have such rows in this step")
    error.everywhere = True  # pyright: ignore[reportAttributeAccessIssue]
    return error


def _error(where: str, told: dict[str, Any]) -> NonFiniteError:
    place = f"{where}, in the rows of {told['who']}" if "who" in told else where
    place = f"{place}: {told['where']}" if told.get("where") else place
    error = NonFiniteError("finite values", got=told["got"], fix=told.get("fix"), where=place, located=True)
    for note in told.get("notes", ()):
        error.add_note(note)
    return error


def _of_nobody(where: str) -> NonFiniteError:
    return NonFiniteError(
        "finite values",
        got="a loss or a gradient that is not, though each process finds those of its own rows finite",
        fix="look for a sum over the whole batch that is too large, and for a device that computes wrongly",
        where=where,
        located=True,
    )


def _of_own_rows(run: Run, together: Together) -> dict[str, Any]:
    """What this process finds in its rows; empty where all is finite."""
    model = _here(run.model)
    for devices, batch in _rows(run, together):
        error = nonfinite_or_none(run.objective, model, batch, "")
        if error is not None:
            host = together.group.pulse.host
            who = f"process {together.group.process} ({host}, {devices})"
            layer = str(error.where or "").removeprefix(": ")
            return {
                "who": who, "where": layer, "got": error.got, "fix": error.fix,
                "notes": [note for note in getattr(error, "__notes__", []) if not note.startswith("----")],  # of JAX
            }  # fmt: skip
    return {}


def _rows(run: Run, together: Together) -> Iterator[tuple[str, Any]]:
    """The rows of the step that each device of this process, or several that share them, works on."""
    by_part = devices_by_part(together.placement.mesh, together.placement.strategy.batch)
    for batch in run.batches:
        for n, part in enumerate(sorted(by_part)):
            rows = together.rows_of(batch, n, len(by_part))
            if examples(rows):
                yield ", ".join(by_part[part]), rows


def _here(model: Module) -> Module:
    """A copy of a model on a device of this process, whole."""
    mine = copy(model)
    whole = gathered(paths(model))
    write_arrays(mine, {path: v.addressable_data(0) if isinstance(v, jax.Array) else v for path, v in whole.items()})
    return mine
