"""What services did not get while a run went on, sent afterwards."""

from __future__ import annotations

from pathlib import Path

from phlox.core import StateError
from phlox.loop.tracking._delivery import kept
from phlox.loop.tracking._mlflow import MLflowLogger
from phlox.loop.tracking._service import ServiceLogger
from phlox.loop.tracking._wandb import WandbLogger
from phlox.weights import MissingFileError

WHERE = "px.loop.catch_up"
_LOGGERS: dict[str, type[ServiceLogger]] = {kind.service: kind for kind in (MLflowLogger, WandbLogger)}


def catch_up(path: str | Path) -> int:
    """Send what a logger could not, and remove its file; returns how many entries it were.

    Arguments:
        path: the file, as the logger named it, or the ``log_dir`` of the run.

    Raises:
        MissingFileError: there is no such file; a folder with none is done already.
        StateError: the service is still not there; the file stays.
    """
    path = Path(path)
    files = sorted(path.glob("*-unsent-*.jsonl")) if path.is_dir() else [path]
    sent = 0
    for file in files:
        if not file.is_file():
            fix = "give the file that the logger named, or the log_dir"
            raise MissingFileError(f"{file} to exist", got="nothing there", fix=fix, where=WHERE)
        head, entries = kept(file)
        try:
            _LOGGERS[head["logger"]]._sender(head)(entries)
        except Exception as error:  # whatever the service's client raises
            got = f"{type(error).__name__}: {error}".splitlines()[0]
            fix = "try again when it is"
            raise StateError(f"the service of {file.name} to be there", got=got, fix=fix, where=WHERE) from error
        file.unlink()
        sent += len(entries)
    return sent
