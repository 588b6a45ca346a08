"""What must be the same in all processes, compared before they compute together."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from phlox.core import Module, is_key, paths
from phlox.parallel.processes._group import Group, ProcessError, listed

FAILED = "failed"  # the name under which a process that cannot come says why

_CURES = {
    "versions": "install the same packages everywhere",
    "model": "start the same program everywhere, with the same arguments",
    "weights": "build the model behind the same px.seed in each process, or load the same file",
    "data": "give each process all of the data; px.fit takes the rows of its devices",
    "settings": "call px.fit with the same arguments in each process",
    "position": "let each process see the same checkpoints",
    "program": "start the same program everywhere, and read no clock, file or process number inside it",
}


def agree(
    group: Group, name: str, facts: Mapping[str, str], parts: Mapping[str, Mapping[str, str]], where: str
) -> None:
    """Compare facts by name with those of all processes.

    Arguments:
        name: of the meeting.
        facts: short texts, or checksums.
        parts: of what a fact is made, by its name: compared where it differs, to say in what.
        where: who speaks in errors.

    Raises:
        ProcessError: a process differs, could not come, or did not; in all processes alike.
    """
    texts = group.gathered(f"{name}/all", json.dumps(facts), where, "the first step")
    all_facts: list[dict[str, str]] = [json.loads(text) for text in texts]
    check_failures(all_facts, group, where)
    for fact in facts:
        values = [found.get(fact, "") for found in all_facts]
        if len(set(values)) == 1:
            continue
        shown = group.gathered(f"{name}/{fact}", json.dumps(parts.get(fact, {})), where, "the first step")
        raise _difference(fact, values, [json.loads(text) for text in shown], where)


def check_failures(all_facts: list[dict[str, str]], group: Group, where: str) -> None:
    """Refuse to go on where a process says that it cannot come."""
    failed = {n: facts[FAILED] for n, facts in enumerate(all_facts) if FAILED in facts and n != group.process}
    if failed:
        raise failure(group, min(failed), failed[min(failed)], where)


def failure(group: Group, process: int, told: str, where: str) -> ProcessError:
    """The error of this process where another one ended by an error of its own."""
    return ProcessError(
        f"all {group.processes} processes to go on",
        got=f"an error in process {process}: {told}",
        fix="look at what that process printed",
        where=where,
    )


def _difference(fact: str, values: list[str], parts: list[dict[str, str]], where: str) -> ProcessError:
    """The error of processes that differ: most of them, or those like process 0, are right."""
    counts = Counter(values)
    usual = max(values, key=lambda value: (counts[value], value == values[0]))
    odd = [n for n, value in enumerate(values) if value != usual]
    first, right = odd[0], values.index(usual)
    names = _names_apart(parts[right], parts[first]) or f"{_short(values[first])}, not {_short(usual)}"
    cure = f"{_CURES.get(fact, 'start the same program everywhere')}"
    error = ProcessError(
        f"the same {fact} in all {len(values)} processes",
        got=f"another in {listed(odd)} than in process {right}: {names}",
        fix=cure,
        where=where,
    )
    error.everywhere = True
    return error


def _names_apart(ours: Mapping[str, str], theirs: Mapping[str, str], most: int = 3) -> str:
    """What differs, by name, with the values where they are short."""
    apart = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    shown = [f"{name} {theirs.get(name, 'missing')}, not {ours.get(name, 'missing')}" for name in apart[:most]]
    return "; ".join(shown) + (f"; and {len(apart) - most} more" if len(apart) > most else "")


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"


# --- checksums ----------------------------------------------------------------------------------------


def checksum(value: Any) -> str:
    """Of an array, a text, or a tree of them, as eight letters.

    >>> checksum("phlox") == checksum("phlox"), checksum(np.zeros(2)) == checksum(np.ones(2))
    (True, False)
    """
    found = 0
    for leaf in jax.tree.leaves(value):
        array = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        data: Any = str(leaf).encode() if array.dtype.kind in "OSU" else np.ascontiguousarray(array).view(np.uint8)
        found = zlib.crc32(data, zlib.crc32(f"{array.dtype}{array.shape}".encode(), found))
    return f"{found:08x}"


def checksums(model: Module) -> dict[str, str]:
    """Of each array that this process has whole, by path."""
    return {path: checksum(v) for path, v in paths(model).items() if v.is_fully_addressable or v.is_fully_replicated}
