"""The folder that a run writes to: looked at before the work starts, changed only when all of it is done."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from phlox.weights import FileError, file_error, replacing

WHERE = "phlox quickstart"
ROOM = 1 << 20  # bytes that must be free before a run starts


class Outputs:
    """The files of a run, which replace those of an earlier run together, at the end, or not at all.

    Entering creates the folder, with its parents, and tries that it can be written; a run that fails removes
    again what was created.

    Arguments:
        folder: where the files go.
        names: the files.

    Raises:
        FileError: the folder or a file cannot be written.
    """

    def __init__(self, folder: Path, names: Sequence[str]):
        self.folder, self.names = folder, tuple(names)
        self.created: list[Path] = []

    def __enter__(self) -> Outputs:
        try:
            self._prepare()
        except BaseException:
            self._remove_created()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self._remove_created()

    def _prepare(self) -> None:
        with speaking_of(self.folder):
            for folder in reversed([self.folder, *self.folder.parents]):
                if not folder.is_dir():
                    folder.mkdir()
                    self.created.append(folder)
            with tempfile.TemporaryFile(dir=self.folder) as probe:
                probe.write(bytes(ROOM))
                probe.flush()
                os.fsync(probe.fileno())
        for name in self.names:
            with speaking_of(self.folder / name):
                if (self.folder / name).is_dir():
                    raise IsADirectoryError(errno.EISDIR, "a folder of that name in the way")

    def _remove_created(self) -> None:
        with suppress(OSError):  # something else has been put there since
            for folder in reversed(self.created):
                folder.rmdir()

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """Give a temporary folder to write the files to; where the block ends well, they take their places."""
        with speaking_of(self.folder), tempfile.TemporaryDirectory(prefix=".phlox-", dir=self.folder) as temporary:
            yield Path(temporary)
            with ExitStack() as together:
                for name in self.names:  # all are whole and on the disk before the first takes its place
                    waiting = together.enter_context(replacing(self.folder / name, where=WHERE))
                    shutil.copyfile(Path(temporary) / name, waiting)
                    with open(waiting, "rb") as file:
                        os.fsync(file.fileno())


@contextmanager
def speaking_of(path: Path) -> Iterator[None]:
    """Say which path a system error was about, in four parts."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise file_error(error, path, WHERE) from error
