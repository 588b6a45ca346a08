"""The examples of the validation data with the largest losses, kept beside the run."""

from __future__ import annotations

import functools
import heapq
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, RangeError, StructureError, jit, training, vmap
from phlox.loop.batches._batch import read_batch
from phlox.loop.batches._feed import Feed
from phlox.loop.callbacks._callback import Callback
from phlox.loop.logs._files import log_path
from phlox.loop.logs._patience import Patience
from phlox.loop.steps._objective import Objective

if TYPE_CHECKING:
    from phlox.loop._run import Run

FILE = "worst.npz"


class WorstExamples(Callback):
    """Keeps the examples of the validation data whose losses are the largest when training ends.

    They are written to ``worst.npz``: ``loss`` (count,) from the worst on, ``row`` (count,) where each stands in the
    validation data as its loader gives it, ``x``, ``target`` and ``prediction``. ``phlox report`` shows them. The loss
    of one example is that of a batch of it alone.

    Arguments:
        count: how many, at least 1.
        path: the file; by default ``worst.npz`` in the ``log_dir`` of ``px.fit``.

    Raises:
        RangeError: a count below 1.
        StructureError: when training starts, without validation data, without a place, with a ``step`` of your own.

    >>> import tempfile, numpy as np, phlox as px
    >>> x = np.arange(4, dtype="float32")[:, None]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     worst = px.WorstExamples(2)
    ...     history = px.fit(px.Dense.of(np.zeros((1, 1), "float32"), None), (x, x), validation_data=(x, x), epochs=1,
    ...                      loss=px.losses.mse, optimizer=px.optim.Descent(0.0), callbacks=[worst], log_dir=folder,
    ...                      progress=False)
    ...     kept = np.load(worst.path)
    ...     kept["row"].tolist(), kept["loss"].tolist()
    ([3, 2], [9.0, 4.0])
    """

    order: ClassVar[int] = 45
    count: int
    path: Path | None

    def __init__(self, count: int = 12, path: str | Path | None = None):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            fix = "give how many are kept"
            raise RangeError("a count of at least 1", got=repr(count), fix=fix, where="WorstExamples")
        self.count = count
        self.path = None if path is None else Path(path)
        self._failed = False

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def check_run(self, run: Run) -> None:
        missing = "validation data" if run.validation is None else "a loss" if run.objective is None else ""
        if missing:
            fix = "pass validation_data= to px.fit" if run.validation is None else "pass loss= in place of step="
            raise StructureError(f"a run with {missing}", got="one without", fix=fix, where="WorstExamples")

    def on_fit_start(self, run: Run) -> None:
        self.path, self._failed = log_path(self.path, FILE, run, "WorstExamples"), False

    def on_exception(self, run: Run, error: BaseException) -> None:
        self._failed = True

    def on_fit_end(self, run: Run) -> None:
        if self._failed or run.objective is None:
            return
        found = worst_of(run.model, run.validation, run.objective, self.count)
        Patience("WorstExamples").tries(lambda: _write(Path(str(self.path)), found))


def worst_of(model: Module, loader: Any, objective: Objective, count: int) -> dict[str, Any]:
    """The arrays that are kept, by name, the worst example first; losses that are not finite before all others."""
    worst: list[tuple[float, int, Any]] = []  # a heap, the least loss first
    rows = itertools.count()
    with training(False):
        for fed in Feed(loader, masked=False, where="WorstExamples").epoch():
            read = read_batch(fed.batch)
            losses = np.asarray(_losses(objective)(model, read.whole))
            real = np.ones(len(losses), bool) if read.mask is None else np.asarray(read.mask)
            for place in np.flatnonzero(real):
                entry = float(np.nan_to_num(losses[place], nan=np.inf)), -next(rows), (read.whole, place)
                if len(worst) < count:
                    heapq.heappush(worst, entry)
                elif entry > worst[0]:
                    heapq.heapreplace(worst, entry)
        worst.sort(reverse=True)
        kept = {"loss": np.array([loss for loss, _, _ in worst]), "row": np.array([-row for _, row, _ in worst])}
        examples = [jax.tree.map(lambda array, n=n: np.asarray(array[n]), whole) for _, _, (whole, n) in worst]
        return kept | _told(model, examples)


@functools.lru_cache(maxsize=4)
def _losses(objective: Objective) -> Any:
    """The loss of each example of a batch, (batch,), compiled."""

    def of_one(model: Module, example: Any) -> Any:
        return objective(model, jax.tree.map(lambda array: array[None], example))[0]

    return jit(vmap(of_one, in_axes=(None, 0)))


def _told(model: Module, examples: list[Any]) -> dict[str, Any]:
    """Inputs, targets and predictions of some examples of one shape; what has another one is left out."""
    try:
        stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *examples)
    except ValueError:
        return {}
    read = read_batch(stacked)
    if read.parts is None:
        return _named("x", stacked)
    found = _named("x", read.parts[0])
    if len(read.parts) > 1:
        prediction = model(jax.tree.map(jnp.asarray, read.parts[0]))
        found |= _named("target", read.parts[1]) | _named("prediction", prediction)
    return found


def _named(name: str, tree: Any) -> dict[str, Any]:
    if isinstance(tree, Mapping):
        return {f"{name}.{part}": np.asarray(value) for part, value in tree.items()}
    return {name: np.asarray(tree)} if hasattr(tree, "shape") else {}


def _write(path: Path, arrays: Mapping[str, Any]) -> None:
    whole = path.with_name(path.name + ".part")
    with whole.open("wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(whole, path)
