"""Training that starts at a model's last layers and takes in the others epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from phlox.core import RangeError, freeze, thaw
from phlox.loop.callbacks._callback import Callback

if TYPE_CHECKING:
    from phlox.loop._run import Run


class GradualUnfreezing(Callback):
    """Freezes a model and thaws its parts at the starts of given epochs.

    What is thawed gets fresh state in the optimiser, with its own count of updates, and the rest keeps its own. When
    ``fit`` ends, what was thawed stays so.

    Arguments:
        schedule: by epoch, from 0, what is thawed: a path pattern or several, such as ``"layers.6"``, ``"encoder.*"``
            or ``"*"``. Something must be thawed at epoch 0.

    Raises:
        RangeError: no epoch 0, or an epoch below it.
        StructureError: when training starts, a pattern that matches nothing.

    Source: Howard and Ruder, "Universal language model fine-tuning for text classification", 2018.

    >>> import phlox as px
    >>> unfreezing = px.GradualUnfreezing({0: "layers.6", 2: ["layers.4", "layers.5"], 5: "*"})
    """

    schedule: dict[int, tuple[str, ...]]

    def __init__(self, schedule: Mapping[int, str | Sequence[str]]):
        if 0 not in schedule or min(schedule) < 0:
            raise RangeError(
                "a part to train from epoch 0 on, and no earlier epoch", got=repr(dict(schedule)),
                fix='give such as {0: "head", 2: "*"}', where="GradualUnfreezing",
            )  # fmt: skip
        self.schedule = {
            int(epoch): (parts,) if isinstance(parts, str) else tuple(parts) for epoch, parts in schedule.items()
        }
        self._thawed: list[int] = []  # the epochs whose parts are

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def on_fit_start(self, run: Run) -> None:
        for parts in self.schedule.values():
            thaw(run.model, *parts)  # refuses a pattern that matches nothing, before anything was trained
        freeze(run.model)
        self._thawed = []
        self._thaw_until(run, run.epoch)

    def on_epoch_start(self, run: Run) -> None:
        self._thaw_until(run, run.epoch)

    def prepare(self, run: Run, state: dict[str, Any]) -> None:
        """Bring model and optimiser into the form that they had when ``state`` was made."""
        for epoch in state["thawed"]:
            self._thaw_until(run, epoch)

    def _thaw_until(self, run: Run, epoch: int) -> None:
        """Thaw what is due, each epoch's parts by themselves: the optimiser counts their updates by themselves."""
        for due in sorted(self.schedule):
            if due <= epoch and due not in self._thawed and run.opt is not None:
                thaw(run.model, *self.schedule[due])
                run.opt.sync(run.model)  # forgets what is frozen, which so starts afresh
                self._thawed.append(due)

    def state(self) -> dict[str, Any]:
        return {"thawed": list(self._thawed)}
