"""The logger for TensorBoard: event files with numbers, distributions, pictures, texts, the graph and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import (
    MissingExtraError,
    Module,
    RangeError,
    ShapeError,
    copy,
    describe,
    gradients_by_path,
    paths,
    thaw,
    trainable_arrays,
)
from phlox.loop.batches._inputs import shape_of_input
from phlox.loop.callbacks._callback import Callback
from phlox.loop.logs._files import log_path
from phlox.loop.logs._graph import graph_of
from phlox.nn import summary

if TYPE_CHECKING:
    from phlox.loop._run import Run


class LatestGradients(Module):
    """The gradients of the last step, by path; zero before it and where there are none."""

    _default_role = "State"
    arrays: dict[str, Any]

    def __init__(self, model: Module):
        self.arrays = {p: jnp.zeros_like(v) for p, v in trainable_arrays(thaw(copy(model))).items()}

    def keep(self, model: Module, grads: Module) -> None:
        """Take the gradients of a step."""
        found = gradients_by_path(model, grads, "TensorBoardLogger")
        self.arrays = {p: found.get(p, jnp.zeros_like(v)).astype(v.dtype) for p, v in self.arrays.items()}


class TensorBoardLogger(Callback):
    """Writes what a run does to event files that TensorBoard shows.

    Everything that is logged becomes a scalar. When training starts, the settings of ``fit`` (HParams), the summary of
    the model (Text) and its program (Graphs) are written; at the ends of epochs distributions of weights and gradients.
    A resumed run goes on in the folder, and TensorBoard hides what is trained again. ``log_image``, ``log_histogram``,
    ``log_text``, ``log_pr_curve`` and ``log_embedding`` write at any time between the start and the end of a fit, also
    from another callback.

    Arguments:
        path: the folder; by default ``log_dir`` of ``px.fit`` itself.
        histograms: every how many epochs the distribution of each parameter is written; 0 for never.
        gradients: whether those of the gradients are too. It keeps the last step's gradients in memory.
        graph: whether the summary and the graph are written. The model is called with the first part of a batch, so
            they are left out where batches are dicts, and with a ``step`` of your own.
        images: called with the ``Run`` at the end of each epoch; the pictures to write, by name.

    Raises:
        MissingExtraError: tensorboardX is not installed.
        RangeError: a negative ``histograms``.
        StructureError: when training starts, without a path and without a ``log_dir``.

    >>> import phlox as px
    >>> logger = px.TensorBoardLogger("runs/first", histograms=0)
    """

    order: ClassVar[int] = 50
    histograms: int
    graph: bool
    images: Callable[[Run], Mapping[str, Any]] | None
    modules: tuple[str, ...]

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        histograms: int = 1,
        gradients: bool = False,
        graph: bool = True,
        images: Callable[[Run], Mapping[str, Any]] | None = None,
    ):
        if not histograms >= 0:
            raise RangeError(
                "histograms of at least 0", got=repr(histograms), fix="give every how many epochs",
                where="TensorBoardLogger",
            )  # fmt: skip
        self.path = None if path is None else Path(path)
        self.histograms, self.graph, self.images = histograms, graph, images
        self.latest: LatestGradients | None = None
        self.modules = ("latest",) if gradients else ()
        self._input: jax.ShapeDtypeStruct | None = None  # of the model, once a step was traced
        self._model_written = False
        self._step = 0
        self._from = 0  # the first step of this part of the run
        self._writer: Any = None

    # --- the engine's hooks ----------------------------------------------------------------------

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def on_fit_start(self, run: Run) -> None:
        _writer_class()
        self.path = log_path(self.path, "", run, "TensorBoardLogger")
        self._from, self._step, self._model_written = 0, 0, not self.graph
        if self.modules:
            self.latest = LatestGradients(run.model)

    def before_backward(self, loss: Any, batch: Any) -> Any:
        self._input = shape_of_input(batch)
        return loss

    def after_backward(self, model: Module, grads: Module) -> Module:
        if self.latest is not None:
            self.latest.keep(model, grads)
        return grads

    def on_epoch_end(self, run: Run) -> None:
        self._step = run.step
        if not self._model_written and self._input is not None:
            self._model_written = True
            self._write_model(run.model, self._input)
        if self.histograms and run.epoch % self.histograms == 0:
            self._write_arrays("weights", {p: v for p, v in paths(run.model).items() if p in _parameters(run.model)})
            if self.latest is not None:
                self._write_arrays("gradients", self.latest.arrays)
        for name, image in (self.images(run) if self.images is not None else {}).items():
            self.log_image(name, image)

    def on_fit_end(self, run: Run) -> None:
        if self._writer is not None:
            self._write_settings(run)
            self._writer.close()
            self._writer = None

    def log_scalars(self, step: int, scalars: dict[str, float]) -> None:
        self._step = step
        for name, value in scalars.items():
            if name != "step":
                self.writer.add_scalar(name, value, step)

    def state(self) -> dict[str, Any]:
        return {"step": self._step}

    def restore(self, state: dict[str, Any]) -> None:
        self._from = state["step"] + 1

    # --- what anybody may write ------------------------------------------------------------------

    @property
    def writer(self) -> Any:
        """The ``SummaryWriter`` of tensorboardX, for what has no method here."""
        if self._writer is None:
            # Names tell the second only: a number keeps the file of a run that ended within this one, and the order.
            number = len(list(Path(str(self.path)).glob("events.out.tfevents.*")))
            self._writer = _writer_class()(str(self.path), purge_step=self._from, filename_suffix=f".{number:04}")
        return self._writer

    def log_image(self, name: str, image: Any, step: int | None = None) -> None:
        """Write a picture: (height, width), (height, width, channels), or a batch of the latter, side by side.

        Whole numbers are from 0 to 255, floats from 0 to 1; channels are 1, 3 or 4.

        Raises:
            ShapeError: an array of another shape.
        """
        pixels = np.asarray(image)
        forms = {2: "HW", 3: "HWC", 4: "NHWC"}
        if pixels.ndim not in forms or (pixels.ndim > 2 and pixels.shape[-1] not in (1, 3, 4)):
            raise ShapeError(
                "a picture (height, width), (height, width, 1 | 3 | 4) or a batch of such", got=describe(pixels),
                fix="put the channels last", where="TensorBoardLogger.log_image",
            )  # fmt: skip
        if pixels.dtype.kind == "f":
            pixels = np.clip(pixels, 0, 1)
        add = self.writer.add_images if pixels.ndim == 4 else self.writer.add_image
        add(name, pixels, self._at(step), dataformats=forms[pixels.ndim])

    def log_histogram(self, name: str, values: Any, step: int | None = None) -> None:
        """Write the distribution of the finite numbers of an array; of complex ones, of their sizes."""
        numbers = np.asarray(values)
        numbers = np.abs(numbers) if numbers.dtype.kind == "c" else numbers.astype(np.float64)
        numbers = numbers[np.isfinite(numbers)]
        if numbers.size:
            self.writer.add_histogram(name, numbers, self._at(step), bins="auto" if numbers.size < 100 else 64)

    def log_text(self, name: str, text: str, step: int | None = None) -> None:
        """Write a text, in Markdown."""
        self.writer.add_text(name, text, self._at(step))

    def log_pr_curve(
        self, name: str, scores: Any, target: Any, *, weight: Any = None, thresholds: int = 127, step: int | None = None
    ) -> None:
        """Write how precision and recall go together, for the PR Curves tab.

        Arguments:
            scores: (count,) probabilities; target: (count,) 0 or 1; weight: (count,).
            thresholds: at how many equal steps from 0 to 1 they are counted, 2 to 127.

        Raises:
            ShapeError: arrays of different lengths. RangeError: scores outside [0, 1], a target that is neither 0 nor
                1, or another number of thresholds.
        """
        where = "TensorBoardLogger.log_pr_curve"
        p, t = np.asarray(scores, np.float64), np.asarray(target)
        w = np.ones(p.shape) if weight is None else np.asarray(weight, np.float64)
        for what, array in (("scores", p), ("target", t), ("weight", w)):
            if array.shape != p.shape or p.ndim != 1 or not len(p):
                fix = "give one of each for every example"
                raise ShapeError(f"{what} (count,)", got=describe(array), fix=fix, where=where)
        if not ((p >= 0) & (p <= 1)).all() or not np.isin(t, (0, 1)).all():
            fix = "give the probability of yes, and whether it was so"
            got = f"scores from {p.min():.4g} to {p.max():.4g}, targets from {t.min()} to {t.max()}"
            raise RangeError("scores in [0, 1] and targets of 0 and 1", got=got, fix=fix, where=where)
        if not 2 <= thresholds <= 127:
            fix = "leave it out for 127"
            raise RangeError("2 to 127 thresholds", got=repr(thresholds), fix=fix, where=where)
        self.writer.add_pr_curve(name, t, p, self._at(step), thresholds, w)

    def log_embedding(
        self, name: str, vectors: Any, labels: Any = None, images: Any = None, step: int | None = None
    ) -> None:
        """Write vectors for the projector, with what is known about each.

        Arguments:
            vectors: (count, size).
            labels: one for each, or columns of them by name; the projector colours and searches by these.
            images: (count, side, side, channels) floats from 0 to 1.

        Raises:
            ShapeError: not one label or picture for each vector, or pictures that are not square.
        """
        where = "TensorBoardLogger.log_embedding"
        points, pictures = np.asarray(vectors), None if images is None else np.moveaxis(np.asarray(images), -1, 1)
        if points.ndim != 2 or not points.size:
            fix = "give a row for each"
            raise ShapeError("vectors (count, size)", got=describe(points), fix=fix, where=where)
        if pictures is not None:
            if pictures.ndim != 4 or len(pictures) != len(points) or pictures.shape[2] != pictures.shape[3]:
                fix = "give a square picture for each vector, channels last"
                got = describe(np.asarray(images))
                raise ShapeError(f"pictures ({len(points)}, side, side, channels)", got=got, fix=fix, where=where)
            pictures = np.repeat(pictures, 3, axis=1) if pictures.shape[1] == 1 else pictures
        rows, names = _labels(labels, len(points), where)
        self.writer.add_embedding(points, rows, pictures, self._at(step), name, names)

    def _at(self, step: int | None) -> int:
        return self._step if step is None else step

    # --- what is written by itself ---------------------------------------------------------------

    def _write_arrays(self, kind: str, arrays: Mapping[str, Any]) -> None:
        for path, value in arrays.items():
            self.log_histogram(f"{kind}/{path}", value)

    def _write_model(self, model: Module, x: jax.ShapeDtypeStruct) -> None:
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]  # made at import

        table = "\n".join(f"    {line}" for line in str(summary(model, x)).splitlines())
        self.log_text("model", table, 0)
        graph = graph_of(model, x)
        self.writer.file_writer.event_writer.add_event(Event(graph_def=graph.SerializeToString()))

    def _write_settings(self, run: Run) -> None:
        from tensorboardX.summary import hparams

        settings = {name: _setting(value) for name, value in run.config.items() if value is not None}
        last = run.history.epochs[-1] if len(run.history) else {}
        results = {name: value for name, value in last.items() if name not in ("epoch", "step")}
        for part in hparams(settings, results):
            self._writer.file_writer.add_summary(part)


def _labels(labels: Any, count: int, where: str) -> tuple[list[Any] | None, list[str] | None]:
    """Labels as lines of a table, and the names of its columns where there are several.

    Raises:
        ShapeError: not one for each.
    """
    if labels is None:
        return None, None
    columns = dict(labels) if isinstance(labels, Mapping) else {"label": labels}
    cells = {str(name): [" ".join(str(one).split()) for one in column] for name, column in columns.items()}
    for name, column in cells.items():
        if len(column) != count:
            fix = "give one for each vector"
            raise ShapeError(f"{count} of {name}", got=str(len(column)), fix=fix, where=where)
    if len(cells) == 1:  # the projector wants no head above one column
        return next(iter(cells.values())), None
    return [list(row) for row in zip(*cells.values(), strict=True)], list(cells)


def _parameters(model: Module) -> dict[str, Any]:
    return trainable_arrays(thaw(copy(model)))


def _setting(value: Any) -> bool | float | str:
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise MissingExtraError(
            "tensorboardX", got="none", fix='pip install "phlox[tensorboard]"', where="TensorBoardLogger"
        ) from None
    return SummaryWriter
