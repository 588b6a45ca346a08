"""The logger for Weights & Biases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from phlox.core import MissingExtraError, RangeError
from phlox.loop.tracking._delivery import Entry
from phlox.loop.tracking._service import ServiceLogger

if TYPE_CHECKING:
    from phlox.loop._run import Run

_MODES = ("online", "offline", "disabled")


class WandbLogger(ServiceLogger):
    """Hands what a run logs to Weights & Biases, or to files that ``wandb sync`` sends later.

    Everything that is logged becomes a number of the run at its step; the settings of ``fit``, the optimiser, seeds,
    fingerprints of the data, code and environment become its config, arrays lists. A resumed run goes on in its W&B
    run, and W&B passes over steps that are trained again.

    It never stops a training: a thread does the sending. Where W&B cannot be reached when training starts, that is told
    once and the run is written offline.

    Arguments:
        project, name, entity, tags: as ``wandb.init`` has them.
        mode: ``"online"``, ``"offline"`` or ``"disabled"``; by default what ``WANDB_MODE`` says, or online.
        dir: the folder of W&B's files; by default the ``log_dir`` of ``px.fit``, or the present one.
        patience: seconds that the end of a training waits for W&B at most.

    Raises:
        MissingExtraError: wandb is not installed.
        RangeError: another mode, a negative patience.

    >>> import phlox as px
    >>> logger = px.WandbLogger("digits", mode="offline")
    """

    service: ClassVar[str] = "wandb"
    project: str | None
    name: str | None
    entity: str | None
    mode: str | None
    dir: Path | None

    def __init__(
        self,
        project: str | None = None,
        *,
        name: str | None = None,
        entity: str | None = None,
        tags: Sequence[str] = (),
        mode: str | None = None,
        dir: str | Path | None = None,
        patience: float = 30.0,
    ):
        super().__init__(patience)
        if mode is not None and mode not in _MODES:
            raise RangeError(f"a mode among {', '.join(_MODES)}", got=repr(mode), fix="choose one of these",
                             where="WandbLogger")  # fmt: skip
        self.project, self.name, self.entity, self.mode = project, name, entity, mode
        self.tags = list(tags)
        self.dir = None if dir is None else Path(dir)

    def check_run(self, run: Run) -> None:
        _library()
        folder = self.dir or run.log_dir
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def _address(self) -> dict[str, Any]:
        folder = self.dir or (None if self._run is None else self._run.log_dir)
        return {
            "key": self.key,
            "project": self.project,
            "name": self.name,
            "entity": self.entity,
            "tags": self.tags,
            "mode": self.mode,
            "dir": None if folder is None else str(folder),
        }

    @classmethod
    def _sender(cls, address: dict[str, Any]) -> Callable[[Sequence[Entry]], None]:
        return WandbSender(address)


class WandbSender:
    """Hands entries to a run of W&B, which it begins at the first one.

    Arguments:
        address: what a logger says of the run.
    """

    def __init__(self, address: Mapping[str, Any]):
        self.address = address
        self._run: Any = None
        self._done = 0  # entries of a call that failed which were handed over before
        self._online_failed = False

    def __call__(self, entries: Sequence[Entry]) -> None:
        for entry in entries[self._done :]:
            getattr(self, f"_{entry['kind']}")(self.run, entry)
            self._done += 1
        self._done = 0

    @property
    def run(self) -> Any:
        """The run; where W&B could not be reached, the second try begins it offline."""
        if self._run is None:
            mode = "offline" if self._online_failed else self.address["mode"]
            try:
                self._run = self._begun(mode)
            except Exception:
                self._online_failed = True
                raise
        return self._run

    def _begun(self, mode: str | None) -> Any:
        wandb = _library()
        given = {name: self.address[name] for name in ("project", "name", "entity", "dir")}
        settings = wandb.Settings(console="off", silent=True)
        going_on = {} if mode == "offline" else {"resume": "allow"}
        return wandb.init(
            **given, id=self.address["key"], tags=self.address["tags"], mode=mode, settings=settings, **going_on
        )

    def _start(self, run: Any, entry: Entry) -> None:
        record = {name: value for name, value in entry["record"].items() if name not in ("config", "environment")}
        around = {name: value for name, value in entry["record"]["environment"].items() if name != "packages"}
        run.config.update({**entry["record"]["config"], "phlox": {**record, **around}}, allow_val_change=True)

    def _numbers(self, run: Any, entry: Entry) -> None:
        run.log({name: float(value) for name, value in entry["values"].items()}, step=entry["step"])

    def _array(self, run: Any, entry: Entry) -> None:
        run.log({entry["name"]: entry["value"]}, step=entry["step"])

    def _end(self, run: Any, entry: Entry) -> None:
        for name in ("status", "reason", "seconds", "error"):
            run.summary[f"phlox_{name}"] = entry[name]
        run.finish(exit_code=int(entry["status"] == "failed"))


def _library() -> Any:
    try:
        import wandb  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise MissingExtraError("wandb", got="none", fix='pip install "phlox[wandb]"', where="WandbLogger") from None
    return wandb
