"""Where Optuna keeps a study, and which of its trials belong to a process that died."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from phlox.loop import FolderLock

WORKER, AGAIN = "phlox:worker", "phlox:again"  # attributes of a trial: who does it; of which it is the second time

LOOKING = "looking"  # the lock of the process that looks for trials of the dead


class Workers:
    """The processes that work on one study file, each known by a lock that goes with it, however it ends.

    Arguments:
        file: of the study; None where it is not in a file, so that nobody knows.
    """

    def __init__(self, file: Path | None):
        self.folder = None if file is None else file.with_name(f"{file.name}.workers")
        self.me = uuid.uuid4().hex[:12]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Within the block this process is one of them."""
        if self.folder is None:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(self.folder / self.me)
        try:
            yield
        finally:
            lock.release()
            with suppress(OSError):
                (self.folder / self.me).unlink()
                self.folder.rmdir()

    def died(self, worker: str | None) -> bool:
        """Whether a process that worked on the study is no more; false where nobody knows.

        One that died before it said who it is, None, is no more where nobody else is there.
        """
        if self.folder is None or worker == self.me:
            return False
        if worker is None:
            return all(self.died(path.name) for path in self.folder.iterdir() if path.name not in (self.me, LOOKING))
        path = self.folder / worker
        if not path.exists():
            return True
        try:
            FolderLock(path).release()
        except OSError:
            return False
        with suppress(OSError):
            path.unlink()
        return True

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether within the block no other process looks for trials of the dead."""
        if self.folder is None:
            yield False
            return
        try:
            lock = FolderLock(self.folder / LOOKING)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            with suppress(OSError):
                (self.folder / LOOKING).unlink()
            lock.release()


def opened(storage: str | os.PathLike[str] | Any | None) -> tuple[Any, Path | None]:
    """What Optuna takes as its storage, and the file where it is one.

    Arguments:
        storage: a path of a file, which becomes a database of SQLite; an address with ``://``; a storage of Optuna's;
            None for memory.
    """
    if storage is None or not isinstance(storage, str | os.PathLike):
        return storage, None
    text = os.fspath(storage)
    if "://" in text and not text.startswith("sqlite:///"):
        return text, None
    file = Path(text.removeprefix("sqlite:///")).absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{file}", file


def take_over(study: Any, workers: Workers) -> int:
    """Have the trials of processes that died done again, with what was chosen for them; how many they are."""
    from optuna.trial import TrialState  # pyright: ignore[reportMissingImports]  # an extra

    taken = 0
    with workers.alone() as alone:
        for trial in study.get_trials(states=(TrialState.RUNNING,)) if alone else ():
            if workers.died(trial.user_attrs.get(WORKER)):
                first = trial.user_attrs.get(AGAIN, ordinal(study, trial.number))
                study.enqueue_trial(trial.params, user_attrs={AGAIN: first})
                study.tell(trial.number, state=TrialState.FAIL)
                taken += 1
    return taken


def ordinal(study: Any, number: int) -> int:
    """Which trial it is where those that are done again do not count a second time."""
    return sum(t.number < number and AGAIN not in t.user_attrs for t in study.get_trials(deepcopy=False))


def those_that_count(study: Any) -> list[Any]:
    """The trials without those that were, or are to be, done again, and without those that wait."""
    from optuna.trial import TrialState  # pyright: ignore[reportMissingImports]

    found: dict[int, Any] = {}
    plain = -1
    for trial in study.get_trials(deepcopy=False):
        plain += AGAIN not in trial.user_attrs
        if trial.state != TrialState.WAITING:
            found[trial.user_attrs.get(AGAIN, plain)] = trial
        else:
            found.pop(trial.user_attrs.get(AGAIN, plain), None)
    return [found[number] for number in sorted(found)]
