"""What fit was asked for, beside model and data: immutable, checked, and printed as what a run logs of it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from phlox.core import RangeError
from phlox.loop._checks import check_folder, check_model, check_rule, check_whole, told
from phlox.loop._validating import check_schema
from phlox.loop.callbacks._callback import Callback, as_callbacks
from phlox.loop.checkpoints._checkpoint import Checkpoint
from phlox.loop.preflight._fit import check_memory
from phlox.loop.steps._by_output import as_loss
from phlox.loop.steps._objective import check_loss
from phlox.parallel import Placement, Strategy, data_parallel

WHERE = "px.fit"


@dataclass(frozen=True, eq=False, repr=False)
class Settings:
    """The arguments of ``px.fit`` beside model and data, as they were given; ``px.fit`` says what each of them means.

    The fields stand in the order of its arguments, which is that of ``run.config``.
    """

    loss: Any
    optimizer: Any
    epochs: int
    steps: int | None
    batch_size: int
    validation_every: int
    metrics: Any
    callbacks: tuple[Callback, ...]
    seed: int
    log_dir: Any
    step: Any
    accumulate: int
    clip: Any
    precision: Any
    class_weight: Any
    sample_weight: Any
    time_limit: Any
    dry_run: bool
    overfit_batches: int
    limit_batches: int | None
    multi_step: Any
    progress: Any
    devices: Any
    parallel: Any
    checkpoint_dir: Any
    checkpoint_every: Any
    resume: Any
    memory: Any
    loss_weights: Any
    schema: Any

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Settings:
        """From all arguments of ``px.fit`` by name."""
        mine: dict[str, Any] = {f.name: arguments[f.name] for f in dataclasses.fields(cls)}
        mine["callbacks"] = as_callbacks(mine["callbacks"], WHERE)
        return cls(**mine)

    def given(self) -> dict[str, Any]:
        """Every setting by name, as it was given."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def logged(self) -> dict[str, Any]:
        """Every setting by name as a JSON-able value, which is the ``config`` of a run."""
        return {name: plain(value) for name, value in self.given().items()}

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.logged().items())})"

    @cached_property
    def whole_loss(self) -> Any:
        """The loss as the loop calls it: those by output as one."""
        return as_loss(self.loss, self.loss_weights, WHERE)

    def of_a_dry_run(self) -> Settings:
        """The same for one step that leaves nothing behind."""
        return dataclasses.replace(
            self,
            callbacks=(),
            steps=1,
            limit_batches=self.accumulate,
            checkpoint_dir=None,
            log_dir=None,
            time_limit=None,
            progress=False,
        )

    def placement(self) -> Placement | None:
        """How devices share the work, None for one device."""
        strategy = self.parallel if self.devices is None else data_parallel(self.devices)
        return None if strategy is None else Placement.of(strategy)

    # --- refused, before anything is made ------------------------------------------------------------

    def check(self, model: Any) -> None:
        """Refuse what means nothing whatever the data is.

        Raises:
            RangeError, StructureError: an argument out of its range, of another kind, or beside one that excludes it.
        """
        loss = self.whole_loss
        check_model(model, WHERE)
        self._check_numbers()
        if self.step is None or loss is not None:
            check_loss(loss, WHERE)
        self._check_step()
        check_rule(self.optimizer, WHERE)
        self._check_saving()
        self._check_devices()
        check_schema(self.schema)

    def _check_numbers(self) -> None:
        for name in ("epochs", "steps", "validation_every", "accumulate", "limit_batches", "batch_size"):
            check_whole(name, getattr(self, name), 1, WHERE)
        check_whole("overfit_batches", self.overfit_batches, 0, WHERE)
        check_memory(self.memory, WHERE)
        if self.multi_step != "auto":
            check_whole("multi_step", self.multi_step, 1, WHERE)

    def _check_step(self) -> None:
        """Refuse beside a step of the user's own what only ours would do."""
        if self.step is None:
            return
        names = ("clip", "precision", "class_weight", "sample_weight")
        ignored = [name for name in names if getattr(self, name) is not None]
        ignored += ["accumulate"] if self.accumulate > 1 else []
        if ignored:
            fix = f"do it in the step, and leave {', '.join(ignored)} out"
            raise RangeError("your own step alone", got=f"step and {', '.join(ignored)}", fix=fix, where=WHERE)

    def _check_saving(self) -> None:
        check_folder("log_dir", self.log_dir, WHERE)
        saving = any(isinstance(callback, Checkpoint) for callback in self.callbacks)
        if saving and self.checkpoint_dir is not None:
            fix = "leave checkpoint_dir out: the callback has the folder"
            raise RangeError("checkpoint_dir or a px.Checkpoint", got="both", fix=fix, where=WHERE)
        if self.resume and not saving and self.checkpoint_dir is None:
            fix = "pass the folder of the run to go on with"
            raise RangeError("a checkpoint_dir to resume from", got="none", fix=fix, where=WHERE)

    def _check_devices(self) -> None:
        if self.parallel is not None and self.devices is not None:
            fix = "leave devices out: parallel says which they are"
            raise RangeError("devices or parallel", got="both", fix=fix, where=WHERE)
        if self.parallel is not None and not isinstance(self.parallel, Strategy | Placement):
            meant = repr(self.parallel) if isinstance(self.parallel, (str, int)) else '"all"'
            fix = f"pass parallel=px.parallel.data_parallel({meant}), or devices={meant} for short"
            what = "a strategy of px.parallel as parallel"
            raise RangeError(what, got=told(self.parallel), fix=fix, where=WHERE)


def plain(value: Any) -> Any:
    """A setting as a JSON-able value: a function or class by its name, what JSON does not know as it prints.

    >>> plain({"clip": (1, None), "loss": max})
    {'clip': [1, None], 'loss': 'max'}
    """
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, dict):
        return {str(name): plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return getattr(value, "__name__", None) or repr(value)
