"""Recording what the processor does, as a trace for Perfetto and TensorBoard."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import jax
import numpy as np

from phlox.core import RangeError, StateError, StructureError
from phlox.loop.callbacks._callback import Callback

if TYPE_CHECKING:
    from phlox.loop._run import Run


class Profile(Callback):
    """A trace to be recorded, by ``with`` or as a callback; ``px.profile`` makes it.

    Attributes:
        trace: the file ``perfetto_trace.json.gz``, once it is written.
    """

    path: Path | None
    steps: tuple[int, int]
    folder: Path

    def __init__(self, path: str | Path | None = None, *, steps: tuple[int, int]):
        first, behind = steps
        if not 0 <= first < behind:
            raise RangeError(
                "steps (first, behind the last), 0 or more and in order", got=repr(steps), fix="give such as (10, 20)",
                where="profile",
            )  # fmt: skip
        self.path, self.steps = None if path is None else Path(path), (first, behind)
        self.trace: Path | None = None
        self._recording = False
        self._before: set[Path] = set()

    def __enter__(self) -> Self:
        if self.path is None:
            raise StructureError("a path", got="none", fix='write px.profile("folder")', where="profile")
        self._start(self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    # --- as a callback ---------------------------------------------------------------------------

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def on_fit_start(self, run: Run) -> None:
        if self.path is None and run.log_dir is None:
            raise StructureError(
                "a path, or a log_dir of px.fit", got="neither", fix="pass one of them", where="profile"
            )

    def on_step_start(self, run: Run) -> None:
        if self.trace is None and not self._recording and self.steps[0] <= run.step < self.steps[1]:
            self._start(self.path or run.log_dir)

    def on_step_end(self, run: Run) -> None:
        if self._recording and run.step >= self.steps[1]:
            np.asarray(run.losses)  # waits for the device
            self._stop()

    def steps_until(self, run: Run) -> int | None:
        ahead = [bound - run.step for bound in self.steps if bound > run.step]
        return min(ahead) if ahead else None

    def on_fit_end(self, run: Run) -> None:
        self._stop()

    # --- the trace -------------------------------------------------------------------------------

    def _start(self, path: Any) -> None:
        folder = Path(path)
        self._before = set(folder.rglob("perfetto_trace.json.gz"))
        try:
            jax.profiler.start_trace(folder, create_perfetto_trace=True)
        except RuntimeError as error:
            raise StateError(
                "no other trace being recorded", got=str(error), fix="end that one first", where="profile"
            ) from None
        self.folder, self._recording = folder, True

    def _stop(self) -> None:
        if self._recording:
            self._recording = False
            jax.profiler.stop_trace()
            self.trace = max(set(self.folder.rglob("perfetto_trace.json.gz")) - self._before)


def profile(path: str | Path | None = None, *, steps: tuple[int, int] = (10, 20)) -> Profile:
    """Records a trace: what runs when, in Python, in the compiler and on the devices.

    ``with px.profile("folder"):`` records a block of code. As a callback of ``px.fit`` it records some steps. Open
    ``trace`` in a browser at ui.perfetto.dev, which reads it there and sends it nowhere, or the folder in TensorBoard
    with its profile plugin. One trace can be recorded at a time.

    Arguments:
        path: the folder; by default, as a callback, the ``log_dir`` of ``px.fit``.
        steps: as a callback, the first step to record and the first not to, both from 0. The first steps compile.

    Returns:
        A ``Profile``, whose ``trace`` is the file ``perfetto_trace.json.gz`` once it is written.

    Raises:
        RangeError: steps that are not in order.
        StructureError: without a path and without a ``log_dir``.
        StateError: another trace is being recorded.

    Source: ``jax.profiler.trace``.

    >>> import tempfile
    >>> import jax.numpy as jnp, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with px.profile(folder) as recorded:
    ...         y = px.Dense(4, 2)(jnp.ones((3, 4))).block_until_ready()
    ...     print(recorded.trace.name)
    perfetto_trace.json.gz
    """
    return Profile(path, steps=steps)
