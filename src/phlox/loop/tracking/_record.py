"""What every run records: settings, code, data, model, surroundings and seeds, in one place for all loggers."""

from __future__ import annotations

import datetime
import json
import os
import uuid
import weakref
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from phlox.core import copy, describe, modules, paths, thaw, trainable_arrays
from phlox.loop.callbacks._callback import Callback
from phlox.loop.callbacks._names import constructed, in_text
from phlox.loop.logs._files import as_json, log_path, set_aside
from phlox.loop.logs._patience import Patience
from phlox.loop.tracking._surroundings import code_version, environment

if TYPE_CHECKING:
    from phlox.core import Module
    from phlox.loop._run import Run

FILE = "run.json"
FORMAT = 1
_MADE: weakref.WeakKeyDictionary[Run, dict[str, Any]] = weakref.WeakKeyDictionary()


def record_of(run: Run) -> dict[str, Any]:
    """What a run is made of, JSON-able; worked out once for each run, whoever asks.

    ``config`` is that of the run, ``optimizer`` and ``callbacks`` are as they were constructed, ``data`` are
    fingerprints, ``model`` its layers, ``code`` and ``environment`` what it ran in.
    """
    if run not in _MADE:
        _MADE[run] = _made(run)
    return _MADE[run]


def _made(run: Run) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "started": now(),
        "seeds": {"px.fit": run.seed, "loader": getattr(run.loader, "seed", None)},
        "config": {name: value for name, value in run.config.items() if name not in ("callbacks", "optimizer")},
        "optimizer": None if run.opt is None else in_text(run.opt.rule),
        "callbacks": [constructed(callback) for callback in run.callbacks],
        "data": {name: _data(loader) for name, loader in _loaders(run) if loader is not None},
        "model": _model(run.model),
        "device_count": run.device_count,
        "code": code_version(),
        "environment": environment(),
    }


def _loaders(run: Run) -> tuple[tuple[str, Any], ...]:
    return ("train_data", run.loader), ("validation_data", run.validation)


def _data(loader: Any) -> dict[str, Any]:
    from phlox.data import fingerprint  # slow to import

    return asdict(fingerprint(loader))


def _model(model: Module) -> dict[str, Any]:
    """Every layer with the arrays that are its own, in the order of the model."""
    found, parameters = modules(model), trainable_arrays(thaw(copy(model)))
    layers = {path: {"path": path, "layer": module._brief(), "arrays": {}} for path, module in found.items()}
    for path, array in paths(model).items():
        owner = next(at for at in _above(path) if at in layers)
        layers[owner]["arrays"][path[len(owner) :].lstrip(".")] = describe(array)
    return {
        "name": type(model).__name__,
        "parameters": sum(array.size for array in parameters.values()),
        "layers": list(layers.values()),
    }


def _above(path: str) -> list[str]:
    """The paths above one, the nearest first and the root last."""
    parts = path.split(".")
    return [".".join(parts[:n]) for n in range(len(parts) - 1, -1, -1)]


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class RunRecord(Callback):
    """Writes what a run is made of, and how it ended, to ``run.json``.

    It has the settings of ``fit``, the optimiser, the version of the code, fingerprints of the data, the layers,
    packages, devices and seeds. ``status`` is "running", then "finished", "interrupted" or "failed"; a run that was
    killed stays "running". A resumed run goes on in the file and adds to ``resumed``; a new run gives a file that is
    there a number.
    ``px.fit(log_dir=…)`` has one of its own.

    Arguments:
        path: the file; by default ``run.json`` in the ``log_dir`` of ``px.fit``.

    Raises:
        StructureError: when training starts, without a path and without a ``log_dir``.

    >>> import phlox as px
    >>> record = px.RunRecord("digits.json")
    """

    order: ClassVar[int] = 50
    path: Path | None
    id: str

    def __init__(self, path: str | Path | None = None):
        self.path = None if path is None else Path(path)
        self.id = ""
        self._resumed = self._begun = False
        self._whole: dict[str, Any] = {}
        self._patience = Patience("RunRecord")

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def on_fit_start(self, run: Run) -> None:
        self.path = log_path(self.path, FILE, run, "RunRecord")
        self.id, self._resumed, self._begun = uuid.uuid4().hex, False, False
        self._patience = Patience("RunRecord")

    def on_epoch_start(self, run: Run) -> None:
        """Begin the file, now that it is known whether the run is a resumed one."""
        if self._begun:
            return
        assert self.path is not None
        self._begun, made = True, record_of(run)
        before = _read(self.path) if self._resumed else None
        if before is not None and before.get("id") == self.id:
            again = {name: made[name] for name in ("started", "config", "data", "code", "environment")}
            self._whole = before | {"resumed": [*before.get("resumed", []), {"step": run.step, **again}]}
        else:
            if not self._resumed:
                self._patience.tries(lambda: set_aside(Path(str(self.path))))
            self._whole = {"id": self.id, **made}
        self._write({"status": "running", "reason": None, "error": None})

    def on_exception(self, run: Run, error: BaseException) -> None:
        if self._begun and not isinstance(error, KeyboardInterrupt):
            self._whole["error"] = f"{type(error).__name__}: {error}"

    def on_fit_end(self, run: Run) -> None:
        if self._begun:
            self._write(ending(run, self._whole.get("error")))

    def state(self) -> dict[str, Any]:
        return {"id": self.id}

    def restore(self, state: dict[str, Any]) -> None:
        self.id, self._resumed = state.get("id", self.id), True

    def _write(self, more: dict[str, Any]) -> None:
        assert self.path is not None
        self._whole |= more
        if not self._patience.tries(self._replace) and "ended" in more:
            self._patience.gives_up(f"what is known of the run is not in {self.path}")

    def _replace(self) -> None:
        assert self.path is not None
        whole = self.path.with_name(self.path.name + ".part")
        whole.write_text(json.dumps(as_json(self._whole), indent=1, allow_nan=False) + "\n", "utf-8")
        os.replace(whole, self.path)


def ending(run: Run, error: str | None) -> dict[str, Any]:
    """How a run ended, and its last numbers."""
    interrupted = run.history.interrupted or run.interruption.number is not None
    last = run.history.epochs[-1] if len(run.history) else {}
    return {
        "status": "failed" if error else "interrupted" if interrupted else "finished",
        "reason": run.history.reason,
        "error": error,
        "ended": now(),
        "seconds": round(run.seconds, 3),
        "epochs": len(run.history),
        "steps": run.step,
        "examples": run.examples,
        "results": {name: value for name, value in last.items() if name not in ("epoch", "step")},
    }


def _read(path: Path) -> dict[str, Any] | None:
    """An earlier record, None where there is none that can be read."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
