"""The queue before the disk, the thread behind it, and the files."""

from __future__ import annotations

import importlib.util
import itertools
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phlox.core import MissingExtraError, PhloxError
from phlox.serving.recording._columns import row_of, schema_of
from phlox.serving.recording._record import Record
from phlox.serving.recording._recording import Recording
from phlox.weights import file_error, replacing

_MOST = 4096  # requests that wait, whatever they hold


class _File:
    """Rows of one model that have the same columns, before they are written."""

    def __init__(self, kinds: Mapping[str, str], until: float):
        self.kinds, self.until = dict(kinds), until
        self.rows, self.size = list[dict[str, Any]](), 0


class Recorder:
    """Writes requests down, beside those who answer them.

    Arguments:
        recording: which ones, and where.
        worker: of several processes.
        tell: called with what goes wrong.
        count: called with how many were written, and with how many were not.

    Raises:
        MissingExtraError: pyarrow is missing.
        FileError: the folder cannot be made.
    """

    def __init__(
        self,
        recording: Recording,
        worker: int = 0,
        tell: Callable[[str, Mapping[str, Any]], None] = lambda event, told: None,
        count: Callable[[int, int], None] = lambda written, left_out: None,
    ):
        if importlib.util.find_spec("pyarrow") is None:
            raise MissingExtraError("pyarrow", got="none", fix='pip install "phlox[tables]"', where="Recording")
        try:
            recording.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise file_error(error, recording.path, "Recording") from error
        self.recording, self.worker, self._tell, self._count = recording, worker, tell, count
        self._random, self._numbers = random.Random(), itertools.count()
        self._waiting: queue.Queue[tuple[Record, int] | None] = queue.Queue(_MOST)
        self._held, self._lock = 0, threading.Lock()
        self._files: dict[tuple[str, tuple[Any, ...]], _File] = {}
        self._thread = threading.Thread(target=self._work, name="px.serving.recording", daemon=True)
        self._thread.start()

    def wants(self) -> bool:
        """Whether the next request is one of the sample."""
        return self.recording.sample >= 1 or self._random.random() < self.recording.sample

    def put(self, record: Record) -> None:
        """Write a request down soon; one for which there is no room is counted, and left out."""
        size = record.size
        with self._lock:
            room = self._held + size <= self.recording.waiting_bytes
            self._held += size if room else 0
        try:
            if not room:
                raise queue.Full
            self._waiting.put_nowait((record, size))
        except queue.Full:
            self._let_go(size if room else 0)
            self._count(0, 1)

    def close(self) -> None:
        """Write what is there, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _let_go(self, size: int) -> None:
        with self._lock:
            self._held -= size

    def _work(self) -> None:
        while True:
            now = time.monotonic()
            soonest = min((file.until for file in self._files.values()), default=now + 1)
            try:
                found = self._waiting.get(timeout=max(0.001, soonest - now))
            except queue.Empty:
                self._write(lambda file: file.until <= time.monotonic())
                continue
            if found is None:
                self._write(lambda file: True)
                return
            self._add(*found)
            self._write(lambda file: file.size >= self.recording.file_bytes or file.until <= time.monotonic())

    def _add(self, record: Record, size: int) -> None:
        try:
            row, kinds = row_of(record, self.recording, self.worker)
        except Exception as error:  # whatever a client sent, the next one is written
            self._tell("recording", {"error": f"{type(error).__name__}: {str(error)[:500]}"})
            self._count(0, 1)
            return
        finally:
            self._let_go(size)
        key = (record.model, tuple(sorted(kinds.items())))
        if key not in self._files:
            self._files[key] = _File(kinds, time.monotonic() + self.recording.file_seconds)
        file = self._files[key]
        file.rows.append(row)
        file.size += size

    def _write(self, due: Callable[[_File], bool]) -> None:
        """Write the files that are due, each whole or not at all."""
        for key in [key for key, file in self._files.items() if due(file)]:
            file = self._files.pop(key)
            try:
                self._write_one(key[0], file)
            except (PhloxError, OSError, ValueError) as error:
                self._tell("recording", {"error": str(error)[:500], "requests": len(file.rows)})
                self._count(0, len(file.rows))
            else:
                self._count(len(file.rows), 0)

    def _write_one(self, model: str, file: _File) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = schema_of(file.kinds)
        columns = [pa.array([row.get(field.name) for row in file.rows], field.type) for field in schema]
        path = self._path(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, where="Recording") as temporary:
            pq.write_table(pa.Table.from_arrays(columns, schema=schema), temporary)

    def _path(self, model: str) -> Path:
        now = time.time_ns()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9)) + f".{now % 10**9:09d}"
        return self.recording.path / model / f"{stamp}-{self.worker}-{next(self._numbers)}.parquet"
