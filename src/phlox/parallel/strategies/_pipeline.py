"""Pipeline parallelism: the blocks of a repeated layer over stages, the batch through them in micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from jax.sharding import Mesh

from phlox.core import Module, RangeError, StructureError, modules
from phlox.nn import BatchNorm, MixtureOfExperts, RepeatedLayer
from phlox.parallel._strategy import Cut, Place, Strategy
from phlox.parallel.strategies.pipelining._stages import Stages
from phlox.parallel.strategies.pipelining._timetable import Timetable

WHERE = "px.parallel.pipeline"
Order = Literal["gpipe", "interleaved"]


@dataclass(frozen=True)
class Pipeline(Strategy):
    """The blocks of a ``RepeatedLayer`` lie one after another on stages, and micro-batches go through them.

    Attributes:
        stages: how many groups of devices.
        microbatches: parts of a batch; None is what suits it.
        order: ``"gpipe"`` or ``"interleaved"``.
        remat: whether a stage keeps its input alone for the gradient.
        axis: the axis of the mesh.
        along: the axes of other strategies that the batch is cut along.
    """

    stages: int
    microbatches: int | None = None
    order: Order = "gpipe"
    remat: bool = False
    axis: str = "stage"
    along: tuple[str, ...] = ()

    @property
    def axes(self) -> Mapping[str, int]:
        return {self.axis: self.stages}

    @property
    def batch(self) -> tuple[str, ...]:
        return (self.axis,)  # the layers before and after the blocks work on a part of the batch on each stage

    def within(self, whole: Strategy) -> Pipeline:
        return replace(self, along=tuple(name for name in whole.batch if name != self.axis))

    def cut(self, place: Place, so_far: Cut, sizes: Mapping[str, int]) -> Cut:
        """Cut the axis of the blocks: the first; of interleaved ones, which repeat twice, the second."""
        del sizes
        above = [isinstance(module, RepeatedLayer) and name == "block" for module, name in place.owners]
        if not any(above):
            return so_far
        layer = place.owners[above.index(True)][0]
        at = 1 if self.order == "interleaved" else 0
        return so_far if getattr(layer, "share", False) else (*so_far[:at], self.axis, *so_far[at + 1 :])

    def ways(self, mesh: Mesh) -> Mapping[str, Callable[..., Any]]:
        return {
            "repeated": Stages(mesh, self.axis, self.along, self.microbatches, self.order == "interleaved", self.remat),
        }

    def check(self, model: Module, sizes: Mapping[str, int]) -> None:
        found = _outermost(model)
        if not found:
            fix = (
                "build its equal blocks as px.nn.RepeatedLayer(lambda: block, n), or join those that are there: "
                "model.blocks = [px.nn.RepeatedLayer.of(model.blocks)]"
            )
            raise StructureError("a model with a RepeatedLayer", got=type(model).__name__, fix=fix, where=repr(self))
        for path, layer in found.items():
            self._check_layer(path, layer, sizes[self.axis])

    def _check_layer(self, path: str, layer: RepeatedLayer[Any], stages: int) -> None:
        """Refuse blocks that stages do not share evenly, or that need the whole batch."""
        inner = layer
        if self.order == "interleaved":
            inner = layer.block
            if not isinstance(inner, RepeatedLayer) or inner.share or inner.inject:
                fix = "repeat the blocks of a round: RepeatedLayer(lambda: RepeatedLayer(block, n), rounds)"
                what = f"interleaved blocks as a RepeatedLayer of RepeatedLayers at {path or 'the root'}"
                raise StructureError(what, got=layer._brief(), fix=fix, where=repr(self))
        if inner.repeats % stages:
            fix = f"choose a number of blocks that {stages} divides, or other stages"
            what = f"blocks that {stages} stages share evenly"
            raise RangeError(what, got=f"{inner.repeats} at {path or 'the root'}", fix=fix, where=repr(self))
        for name, part in modules(layer).items():
            told = _of_whole_batch(part)
            if told is not None:
                what = "blocks that need no statistics of the whole batch"
                fix = f"{told[1]}, or keep it out of the blocks"
                got = f"{told[0]} at {f'{path}.{name}'.strip('.')}"
                raise StructureError(what, got=got, fix=fix, where=repr(self))

    def schedule(self, microbatches: int | None = None, rounds: int = 1) -> Timetable:
        """Which stage works on which micro-batch when, as a value that prints a picture and knows the idle share.

        Arguments:
            microbatches: how many; by default those of the strategy, or four for each stage.
            rounds: how often each goes through all stages, for interleaved blocks.

        Raises:
            RangeError: a number below 1, or micro-batches that rounds do not take.

        >>> from phlox.parallel import pipeline
        >>> flat, rounds = pipeline(4).schedule(8), pipeline(4, schedule="interleaved").schedule(8, rounds=2)
        >>> round(flat.bubble, 2), round(rounds.bubble, 2)
        (0.27, 0.16)
        """
        parts = microbatches or self.microbatches or 4 * self.stages
        _check_count(parts, "micro-batches")
        _check_count(rounds, "rounds")
        if rounds > 1 and parts % self.stages:
            fix = f"choose a multiple of {self.stages}"
            raise RangeError("as many micro-batches as stages, or a multiple", got=str(parts), fix=fix, where=WHERE)
        return Timetable(self.stages, parts, rounds)

    def __repr__(self) -> str:
        parts = "" if self.microbatches is None else f", microbatches={self.microbatches}"
        order = "" if self.order == "gpipe" else f", schedule={self.order!r}"
        return f"pipeline({self.stages}{parts}{order}{', remat=True' if self.remat else ''})"


def pipeline(
    stages: int,
    *,
    microbatches: int | None = None,
    schedule: Order = "gpipe",
    remat: bool = False,
    axis: str = "stage",
) -> Pipeline:
    r"""Pipeline parallelism: each stage holds some of the blocks of a ``RepeatedLayer``, and passes activations on.

    A batch goes through the stages in micro-batches: while one stage works on the second, the next works on the first.
    At the start and at the end of a pass stages idle, a share $(S-1)/(M+S-1)$ of it with M micro-batches on S stages.
    The layers before and after the blocks are whole on every stage, which works there on its part of the batch.
    Numbers are those of one device, to rounding. Dropout within blocks draws for each block and micro-batch: the same
    in every run and whatever the other axes are, and otherwise than without a pipeline.

    Arguments:
        stages: how many; they divide the blocks.
        microbatches: M. None is up to four for each stage, as the batch allows.
        schedule: ``"gpipe"``: once through all stages. ``"interleaved"``: each stage holds a part of every round of
            ``RepeatedLayer(lambda: RepeatedLayer(block, n), rounds)``, and idles $(S-1)/(MR+S-1)$ with R rounds; M is a
            multiple of S.
        remat: keep for the gradient what comes into a stage alone, and compute its blocks again.
        axis: the name of its axis in the mesh.

    Raises:
        RangeError: a number below 1, or another schedule.
        StructureError: later, a model without a ``RepeatedLayer``, or blocks with BatchNorm, or with experts that are
            balanced.
        ShapeError: later, a batch whose rows do not split so.

    >>> from phlox.parallel import data_parallel, pipeline
    >>> pipeline(4, microbatches=8) * data_parallel()
    pipeline(4, microbatches=8) * data_parallel()

    Source: Huang et al., "GPipe: efficient training of giant neural networks using pipeline parallelism", 2019;
    Narayanan et al., "Efficient large-scale language model training on GPU clusters using Megatron-LM", 2021.
    """
    _check_count(stages, "stages")
    if microbatches is not None:
        _check_count(microbatches, "micro-batches")
    if schedule not in ("gpipe", "interleaved"):
        fix = 'leave it out; remat=True saves memory as "1f1b" does elsewhere, and "interleaved" idles less'
        raise RangeError('schedule as "gpipe" or "interleaved"', got=repr(schedule), fix=fix, where=WHERE)
    return Pipeline(stages, microbatches, schedule, remat, axis)


def _of_whole_batch(part: Module) -> tuple[str, str] | None:
    """What a layer that looks at the whole batch is, and what to take in its place; None for all others.

    What pulls a router to balance would pull once for each micro-batch, and where a stage idles.
    """
    if isinstance(part, BatchNorm):
        return "a BatchNorm", "norm by LayerNorm, RMSNorm or GroupNorm"
    if isinstance(part, MixtureOfExperts) and part.balance:
        return f"a MixtureOfExperts with balance={part.balance}", "set its balance to 0.0"
    return None


def _check_count(n: Any, what: str) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise RangeError(f"a whole number of {what}, 1 or more", got=repr(n), fix="write one, such as 4", where=WHERE)


def _outermost(model: Module) -> dict[str, RepeatedLayer[Any]]:
    """The repeated layers of blocks of their own that stand in no other, by path."""
    layers = {path: part for path, part in modules(model).items() if isinstance(part, RepeatedLayer)}
    blocks = [f"{path}.block".lstrip(".") for path in layers]
    inside = lambda path: any(path == b or path.startswith(f"{b}.") for b in blocks)  # noqa: E731
    return {path: layer for path, layer in layers.items() if not layer.share and not inside(path)}
