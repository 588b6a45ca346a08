"""Address after address, again where that may help, until the file is whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from phlox.data.fetching._part import Part, held
from phlox.data.fetching._progress import bar
from phlox.data.fetching._remote import RemoteFile
from phlox.data.fetching._transfer import BrokenError, transfer


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try again.

    Arguments:
        timeout: seconds without an answer or a byte.
        tries: attempts at each address, where it may do better.
        pause: seconds before the second attempt; each later one waits twice as long as the one before it.
        sleep: what waits.
    """

    timeout: float = 30.0
    tries: int = 4
    pause: float = 1.0
    sleep: Callable[[float], None] = time.sleep


def fetch(
    file: RemoteFile, folder: Path, where: str, *, progress: bool | None = None, patience: Patience | None = None
) -> Path:
    """The path of a file in a folder, fetched unless it lies there whole.

    Under its name there is the file with its checksum, or what was there before: what has come so far lies beside it,
    and the next call goes on from there. Processes that want the same file fetch it once.

    Raises:
        FileError: no address gave it, or the folder cannot be written to.
    """
    from phlox.weights import file_error

    target = folder / file.name
    try:
        if file.is_whole(target):
            return target
        folder.mkdir(parents=True, exist_ok=True)
        with held(target) as part:
            if not file.is_whole(target):  # another process may have fetched it meanwhile
                _from_anywhere(file, target, part, where, progress, patience or Patience())
    except OSError as error:
        if error.errno is None:  # no failure of the system's: it speaks for itself
            raise
        raise file_error(error, target, where) from error
    return target


def _from_anywhere(
    file: RemoteFile, target: Path, part: Part, where: str, progress: bool | None, patience: Patience
) -> None:
    from phlox.weights import FileError

    with bar(file.name, file.size, progress) as told:
        reasons = []
        for address in file.addresses:
            why = _from(address, file, part, patience, told)
            if why is None:
                part.finish()
                return
            reasons.append(f"{why} from {address}")
    by_hand = f"put the file there yourself: {target}, {file.size} bytes, SHA-256 {file.sha256}"
    fix = f"call it again, which goes on where it stopped, when the network is there; or {by_hand}"
    what = f"{file.name} from {' or '.join(file.addresses)}"
    raise FileError(what, got="; ".join(reasons) or "no address", fix=fix, where=where)


def _from(address: str, file: RemoteFile, part: Part, patience: Patience, told: Callable[[int], None]) -> str | None:
    """Make the part whole from one address; why not, where that fails."""
    why = "nothing"
    for attempt in range(patience.tries):
        if attempt:
            patience.sleep(patience.pause * 2 ** (attempt - 1))
        resumed = part.size > 0
        try:
            if part.size < file.size or part.sha256 != file.sha256:
                transfer(address, file, part, patience.timeout, told)
        except BrokenError as broken:
            why = broken.why
            if not broken.again:
                break
            continue
        if part.sha256 == file.sha256:
            return None
        why = f"a file of SHA-256 {part.sha256}"
        part.clear()
        if not resumed:
            break
    return why
