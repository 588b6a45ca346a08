"""A process of its own for a library that would not live well in ours, or may fall."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from phlox.interchange.targets._tensorflow import receive, send

_LAST = 400  # bytes of what it said before it ended


class ApartError(RuntimeError):
    """A task that failed in the other process, or took that process with it."""


class Apart:
    """A process that does tasks, one after the other; it ends with the block, or with this object.

    It runs on the processor, without this process's flags for XLA: other libraries bring an XLA of their own, and take
    all of a GPU's memory.

    Arguments:
        script: what it runs; answers tasks as ``_tensorflow`` does.
    """

    def __init__(self, script: Path):
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=_environment(),
        )
        self.close = weakref.finalize(self, _ended, self._process, self._said)

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, what: str, told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays that a task gives.

        Raises:
            ApartError: it failed there, with that error's words; or the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        answer = None
        with suppress(BrokenPipeError):
            send(self._process.stdin, {"do": what, **told}, arrays)
            answer = receive(self._process.stdout)
        if answer is None:
            raise ApartError(self._end())
        said, found = answer
        if "error" in said:
            raise ApartError(said["error"])
        return found

    def _end(self) -> str:
        """How the process ended, in words."""
        status = self._process.wait()
        how = f"status {status}" if status >= 0 else f"signal {-status}"
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - _LAST))
        last = self._said.read().decode("utf-8", "replace").strip()
        return f"its process ended with {how}" + (f": {last}" if last else "")


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return {"TF_CPP_MIN_LOG_LEVEL": "3", **kept, "CUDA_VISIBLE_DEVICES": "-1"}


def _ended(process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, said):
        with suppress(OSError):  # what was still to be sent has nobody to take it
            if stream is not None:
                stream.close()
