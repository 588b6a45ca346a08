"""A training that several processes do together: its rows, what is done once, and where it begins and ends for all."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import jax

from phlox.core import Module, StateError, describe, paths
from phlox.loop._warning import warn
from phlox.loop.batches._batch import Masked, examples
from phlox.loop.batches._feed import Feed
from phlox.loop.checkpoints import _circle as files
from phlox.parallel import FAILED, Ending, Group, Placement, agree, checksum, checksums, group, own_rows
from phlox.weights import whole

Run = Any  # a ``Run``, which knows this file
T = TypeVar("T")

LOOKING_ON = 40  # the least order of callbacks that show and write what the others do
_LOCAL = ("callbacks", "progress", "log_dir", "checkpoint_dir", "checkpoint_every", "resume")  # may differ
_DATA = ("train_data", "validation_data")
_OF_LOSS = ("gloo", "nccl", "unavailable", "connection")  # words of errors where a sum did not come about
_PACKAGES = ("phlox", "jax", "jaxlib", "numpy", "optax")


class Alone:
    """A training in one process: nothing is to be agreed on.

    Attributes:
        circle: who keeps checkpoints together.
        placement: how devices share the work, None for one.
        first: whether this process is the one that shows and writes.
    """

    circle: files.Circle = files.ALONE
    first = True

    def __init__(self, placement: Placement | None):
        self.placement = placement

    def __enter__(self) -> Alone:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        return None

    def those_here(self, callbacks: Sequence[T]) -> list[T]:
        """The callbacks that run in this process."""
        return list(callbacks)

    def prepare(self, feeds: Sequence[Feed | None]) -> None:
        """Until training starts, every process is to see whole batches."""

    def begin(self, run: Run, feed: Feed, saving: bool) -> None:
        """Training is about to start; what was looked at until now was whole."""

    def spread(self, batch: Any, feed: Feed) -> Any:
        """A batch of a feed where a step wants it."""
        return batch if self.placement is None else self.placement.spread(batch)

    def examples(self, batch: Any, feed: Feed) -> int:
        """How many real examples a batch holds, those of all processes together."""
        return examples(batch)

    def look(self, modules: dict[str, Any]) -> None:
        """The Modules of a step, before they are spread."""

    def agree(self, run: Run, program: Any) -> None:
        """The first step is about to be taken."""

    def enter(self, run: Run) -> None:
        """Another step is about to be taken."""

    def after(self, run: Run) -> None:
        """A step was handed over."""

    def leave(self, run: Run) -> None:
        """Callbacks have seen the step."""

    def asks(self, reason: str) -> bool:
        """Whether a stop that this process alone sees must wait for the others; it is then asked for."""
        del reason
        return False

    def told_of(self, error: BaseException) -> BaseException:
        """The error that says why one was raised, where another process is the reason."""
        return error

    @property
    def several(self) -> bool:
        """Whether there are other processes."""
        return False


class Together(Alone):
    """A training whose devices are those of several processes.

    Process 0 shows and writes. Each process reads the rows that its devices work on. Before the first step all compare
    what they are about to do; a step is taken by all or by none.
    """

    def __init__(self, placement: Placement, group: Group, where: str):
        super().__init__(placement)
        self.placement: Placement = placement
        self.group, self.where = group, where
        self.first = group.process == 0
        self.name = group.meeting()
        self.ending = Ending(group, self.name, where)
        self.seen: dict[str, dict[str, str]] = {}  # checksums of arrays by Module, before the first step
        self.circle = files.Together(group, self.name, where, self.ending)
        self._agreed = self._left = self._saving = False
        self._open = ExitStack()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            self._open.close()
            ended = self._left and isinstance(error, KeyboardInterrupt | SystemExit)
            if error is not None and not ended and not getattr(error, "everywhere", False):
                self._fail(error)
            elif self._saving:  # what process 0 still writes is there for all when fit returns
                self.group.gathered(f"{self.name}/done", "", self.where, "the end")
        finally:
            self.ending.over()

    def _fail(self, error: BaseException) -> None:
        """Let the others know, who would wait for this process."""
        self.group.broken = True
        if not self._agreed:
            told = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            self.group.tell(f"{self.name}/facts/all/{self.group.process}", json.dumps({FAILED: told}))
        if self.ending.broken is None and not self.group.lost:
            self.ending.failed(error)

    @property
    def several(self) -> bool:
        return True

    def those_here(self, callbacks: Sequence[T]) -> list[T]:
        return [c for c in callbacks if self.first or c.order < LOOKING_ON or getattr(c, "of_all", False)]  # pyright: ignore[reportAttributeAccessIssue]

    def prepare(self, feeds: Sequence[Feed | None]) -> None:
        for feed in feeds:
            if feed is not None:
                self._open.enter_context(all_rows(feed.loader))

    def begin(self, run: Run, feed: Feed, saving: bool) -> None:
        run.interruption.patient = True
        self._saving = saving
        if saving:
            run.interruption.before_saving()
        if hasattr(feed.loader, "sharing"):
            self._open.enter_context(feed.loader.sharing(*self.placement.parts))

    # --- batches ---------------------------------------------------------------------------------

    def spread(self, batch: Any, feed: Feed) -> Any:
        return self.placement.spread(self._own(batch, feed))

    def _own(self, batch: Any, feed: Feed) -> Any:
        """This process's rows: a loader of ours gives them so, but for its masks; others give whole batches."""
        parts, count = self.placement.parts
        if not feed.is_ours:
            return jax.tree.map(lambda leaf: own_rows(leaf, parts, count), batch)
        if isinstance(batch, Masked):
            return Masked(batch.batch, own_rows(batch.mask, parts, count))
        return batch

    def examples(self, batch: Any, feed: Feed) -> int:
        parts, count = self.placement.parts
        found = examples(batch)
        return found if isinstance(batch, Masked) or not feed.is_ours else found * count // len(parts)

    # --- before the first step -------------------------------------------------------------------

    def look(self, modules: dict[str, Any]) -> None:
        self.seen = {name: checksums(module) for name, module in modules.items() if isinstance(module, Module)}

    def agree(self, run: Run, program: Any) -> None:
        """Compare with the others what is about to be done.

        Arguments:
            program: gives the text of the compiled step.
        """
        parts = {
            "model": _told_model(run),
            "data": _told_data(run),
            "settings": _told_settings(run),
            "weights": self._told_weights(run),
        }
        facts = {
            "versions": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
            **{name: checksum(json.dumps(part)) for name, part in parts.items()},
            "position": f"epoch {run.epoch + 1}, batch {run.batch}, step {run.step}",
        }
        agree(self.group, f"{self.name}/facts", facts, parts, self.where)
        self._agreed = True
        text = {"program": checksum(_without_addresses(program()))}
        agree(self.group, f"{self.name}/program", text, {}, self.where)

    def _told_weights(self, run: Run) -> dict[str, str]:
        """Checksums of arrays before they were spread, and of those that lie whole in every process as they are now."""
        now = {"model": checksums(run.model), "opt": checksums(run.opt)}
        named = [(name, seen) for found in (self.seen, now) for name, seen in found.items()]
        return {f"{name}.{path}": text for name, seen in named for path, text in seen.items()}

    # --- at each step ----------------------------------------------------------------------------

    def enter(self, run: Run) -> None:
        if run.interruption.asked is not None:
            self.ending.ask(run.interruption.asked, run.interruption.asked_name)
        self.ending.enter(run.step + 1)

    def after(self, run: Run) -> None:
        asked = self.ending.reached(run.step)
        if asked is None or self._left:
            return
        self._left = True
        if asked.signal is None:
            run.stop(asked.reason)
        else:
            run.interruption.agreed(asked.signal)

    def leave(self, run: Run) -> None:
        if self._left and run.interruption.number is not None:
            raise run.interruption.error("")

    def asks(self, reason: str) -> bool:
        self.ending.ask(None, reason)
        return True

    def told_of(self, error: BaseException) -> BaseException:
        if not isinstance(error, jax.errors.JaxRuntimeError):
            return error
        if self.ending.broken is not None:
            return self.ending.error()
        lost = self.group.lost or any(word in str(error).lower() for word in _OF_LOSS)
        return self.group.error_of_loss(self.where, 2 * self.group.heartbeat) if lost else error


def together_of(placement: Placement | None, where: str) -> Alone:
    """How a training with this placement goes in this process.

    Raises:
        StateError: the processes of ``phlox launch`` were not brought together.
    """
    found = group()
    if found is None:
        _refuse_apart(placement, where)
        return Alone(placement)
    if placement is None or not placement.several:
        warn(f"{where}: each of {found.processes} processes trains by itself; pass parallel= to train together.")
        return Alone(placement)
    return Together(placement, found, where)


def _refuse_apart(placement: Placement | None, where: str) -> None:
    wanted = os.environ.get("PHLOX_PROCESSES", "1")
    if placement is not None and wanted not in ("", "1"):
        raise StateError(
            f"the {wanted} processes that were started to be brought together",
            got="one that knows of no other",
            fix="call px.parallel.initialize() first in the program",
            where=where,
        )


def _told_model(run: Run) -> dict[str, str]:
    """Layers as they print, and the shapes of their arrays."""
    layers = {name: _without_addresses(text) for name, text in run.made.items() if name.partition(".")[0] == "model"}
    return layers | {f"model.{path}": describe(v) for path, v in paths(run.model).items()}


def _told_data(run: Run) -> dict[str, str]:
    """What is known of the data without reading it, and its order."""
    found = {name: str(run.made[name]) for name in _DATA if name in run.made}
    for name, loader in zip(_DATA, (run.loader, run.validation), strict=True):
        if hasattr(loader, "sharing"):
            found[f"{name} in order"] = str(loader.state()["settings"])
    return found


def _told_settings(run: Run) -> dict[str, str]:
    """The settings that decide what is computed, and the callbacks that do."""
    told = {name: _without_addresses(repr(value)) for name, value in run.config.items() if name not in _LOCAL}
    rule = _without_addresses(str(run.made.get("optimizer", "")))
    return told | {
        "rule": rule,
        "callbacks": ", ".join(type(c).__name__ for c in run.callbacks if c.order < LOOKING_ON),
        "checkpoints": ", ".join(_without_folder(c) for c in run.callbacks if getattr(c, "of_all", False)),
    }


def _without_folder(checkpoint: Any) -> str:
    """When all save together; where the folder is, each may call it by another name."""
    return f"{type(checkpoint).__name__}(…, every={repr(checkpoint).rpartition(' every=')[2]}"


def _without_addresses(text: str) -> str:
    return re.sub(r"0x[0-9a-f]{6,}", "0x", text)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


# --- a model over data --------------------------------------------------------------------------------


@contextmanager
def all_rows(loader: Any) -> Iterator[None]:
    """Within the block a loader of ours gives each process whole batches, unless it was told its shard."""
    if group() is None or not hasattr(loader, "sharing") or loader.shard_given:
        yield
        return
    with loader.sharing((0,), 1):
        yield


def gathered(output: Any) -> Any:
    """Arrays that several processes hold parts of, whole in each of them."""
    return jax.tree.map(whole, output)
