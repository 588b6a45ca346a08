"""What one of several processes writes of a checkpoint, and how process 0 makes one of all parts.

Each writes its arrays, flushes and hashes them, and tells process 0. Once all have, process 0 joins the parts, and
writes the manifest with the checksums that it was told. What goes wrong in one is told to all, so that all end alike.
"""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event
from typing import Any

from phlox.loop.checkpoints._arrays import PartWriter, own_files
from phlox.loop.checkpoints._circle import Circle, as_error
from phlox.loop.checkpoints._manifest import ARRAYS, STATE, entry_of, flush_folder, sealed
from phlox.loop.checkpoints._place import Disk, Objects
from phlox.loop.checkpoints._snapshot import Snapshot
from phlox.weights import FileError


def written(folder: Path, snapshot: Snapshot, writer: PartWriter, circle: Circle, copied: Event) -> str:
    """Write this process's part into a folder; what process 0 is to know of it.

    Arguments:
        copied: is set once all arrays are on the host.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if circle.first:
        (folder / STATE).write_text(snapshot.text, encoding="utf-8")
    if snapshot.arrays:
        writer.write(folder / ARRAYS, snapshot.arrays, copied)
    own = [] if circle.first else own_files(folder / ARRAYS, circle.process)  # process 0 sees to what is left
    files = {path.relative_to(folder).as_posix(): entry_of(path) for path in own}
    for inner in {parent for path in own for parent in path.parents if folder in parent.parents}:
        flush_folder(inner)
    return json.dumps({"files": files, "digest": snapshot.digest})


def made_one(
    place: Disk | Objects, temporary: Path, final: Path, about: dict[str, Any], parts: list[str], writer: PartWriter
) -> None:
    """In process 0: make one checkpoint of the parts of all processes, short of its name.

    In an object store the parts stay as they are, and who reads joins them.

    Raises:
        FileError: a process could not write its part, or what it wrote is not to be seen here.
        CorruptFileError: the same.
    """
    where = f"checkpoints in {place.address!r}"
    for process, text in enumerate(parts):
        error = as_error(text, process)
        if error is not None:
            raise error
    told = [json.loads(text) for text in parts]
    odd = [process for process, part in enumerate(told) if part["digest"] != told[0]["digest"]]
    if odd:
        raise FileError(
            "the same arrays over all processes",
            got=f"others in process {odd[0]} than in process 0",
            fix="let callbacks that run in process 0 alone, loggers, keep no arrays of the model",
            where=where,
        )
    files = {name: entry for part in told for name, entry in part["files"].items()}
    seen = place.seen(temporary, final)
    missing = [name for name, (size, _) in files.items() if seen.get(name) != size]
    if missing:
        raise FileError(
            "a place that all processes see",
            got=f"one in which {missing[0]} of another process is not to be seen whole",
            fix="give a folder on a disk that all machines share, or an object store",
            where=where,
        )
    if place.on_disk:
        writer.join(temporary / ARRAYS)
    sealed(temporary, about, files)
