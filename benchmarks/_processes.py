"""Contenders in processes of their own, of which one at a time does anything."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from _instructions import NATIVE, Bite, bite
from _instructions import env as held_to
from _measure import Times, interleave
from _operations import Operations, programs
from frameworks import Form
from workloads import Workload

HERE = Path(__file__).resolve().parent


class LeftOutError(Exception):
    """A contender cannot take part."""


@dataclass(frozen=True)
class Place:
    """Where contenders run."""

    cores: int = 2
    device: str = "cpu"  # or "gpu", in bfloat16
    isa: str = NATIVE  # the instructions that all are held to
    dump: Path | None = None  # where XLA writes what it compiles

    def env(self, form: Form, cache: Path) -> dict[str, str]:
        """The settings of a process: the cores, quiet libraries, and a folder for what is compiled."""
        threads = {name: str(self.cores) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")}
        platforms = {"JAX_PLATFORMS": "cuda" if self.device == "gpu" else "cpu"}
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        folders = {"JAX_COMPILATION_CACHE_DIR": cache / "jax", "TORCHINDUCTOR_CACHE_DIR": cache / "torch"}
        folders = {name: str(folder) for name, folder in folders.items()}
        if form.framework == "phlox":  # it has a setting of its own, and yields to JAX's
            folders["PHLOX_COMPILE_CACHE"] = folders.pop("JAX_COMPILATION_CACHE_DIR")
        known = {k: v for k, v in os.environ.items() if k not in ("JAX_COMPILATION_CACHE_DIR", "PHLOX_COMPILE_CACHE")}
        settings = known | threads | platforms | quiet | folders | held_to(self.isa) | dict(form.env)
        if self.dump is not None:
            flags = [settings.get("XLA_FLAGS", ""), f"--xla_dump_to={self.dump}", "--xla_dump_hlo_as_text"]
            settings["XLA_FLAGS"] = " ".join(flags).strip()
        return settings


@dataclass(frozen=True)
class Pace:
    """How much is measured."""

    rounds: int
    steps: int  # in a block
    cold: bool  # whether first steps are timed with nothing compiled before; each takes one more process


class Process:
    """A contender's process, for a workload or for a plain product; ``ready`` is what it said at the start."""

    def __init__(self, workload: str, form: Form, place: Place, cache: Path):
        arguments = [sys.executable, str(HERE / "_worker.py"), workload, form.name]
        self.popen = subprocess.Popen(
            arguments + ["--half"] * (place.device == "gpu"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=place.env(form, cache),
            text=True,
        )
        self.ready = self._answer()

    def ask(self, question: Any) -> dict[str, Any]:
        """Say one line, and wait for the answer."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps(question) + "\n")
        self.popen.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            self.end()
            raise LeftOutError(f"its process ended with status {self.popen.returncode}")
        found = json.loads(line)
        if "error" in found:
            self.end()
            raise LeftOutError(found["error"])
        return found

    def end(self) -> None:
        """Let it finish: it does where nothing more is asked."""
        with self.popen:  # closes both pipes, and waits
            pass


@dataclass(frozen=True)
class Race:
    """What was measured of one workload, by contender."""

    workload: Workload
    times: Times  # seconds a step, one number a round
    peaks: Mapping[str, int | None]  # bytes
    cold: Mapping[str, float]  # seconds of the first step; nothing is compiled yet
    warm: Mapping[str, float]  # the same where a process before it has filled the folder of compiled programs
    notes: Sequence[str]


def race(workload: Workload, forms: Sequence[Form], place: Place, pace: Pace, tell: Callable[[str], None]) -> Race:
    """Start all contenders of a workload, see that they do equal work, and time them in turn."""
    notes: list[str] = []
    cold: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="phlox-bench-") as folder, contextlib.ExitStack() as stack:
        ready: dict[str, Process] = {}
        for i, form in enumerate(forms):
            tell(f"{workload.title}: {form.name}")
            cache = Path(folder) / str(i)
            try:
                _check_installed(form)
                if pace.cold:
                    with _running(Process(workload.name, form, place, cache)) as process:
                        cold[form.name] = process.ready["first"]
                ready[form.name] = stack.enter_context(_running(Process(workload.name, form, place, cache)))
            except LeftOutError as reason:
                notes.append(f"{form.name} is left out: {reason}")
        for name, reason in unequal(ready).items():
            notes.append(f"{name} is left out: {reason}")
            del ready[name]
        tell(f"{workload.title}: timing")
        ask = lambda process: lambda: process.ask(pace.steps)["seconds"]  # noqa: E731
        times = interleave({name: ask(process) for name, process in ready.items()}, pace.rounds)
        peaks = {name: process.ask("memory")["peak"] for name, process in ready.items()}
        warm = {name: process.ready["first"] for name, process in ready.items()}
    return Race(workload, times, peaks, cold, warm, notes)


def profiled(workload: Workload, form: Form, place: Place, rounds: int) -> Operations:
    """Trace a contender's steps, and read what each operation takes beside the program that was compiled."""
    with tempfile.TemporaryDirectory(prefix="phlox-bench-") as folder:
        place = replace(place, dump=Path(folder) / "programs")
        with _running(Process(workload.name, form, place, Path(folder) / "cache")) as process:
            found = process.ask({"trace": workload.steps, "rounds": rounds, "folder": str(Path(folder) / "trace")})
        return Operations(workload.title, found["step"], found["times"], programs(Path(folder) / "programs"))


def rates(form: Form, place: Place) -> dict[str, float]:
    """What a contender's library reaches: operations a second of a product, and bytes of a pass over an array."""
    with (
        tempfile.TemporaryDirectory(prefix="phlox-bench-") as folder,
        _running(Process("rates", form, place, Path(folder))) as process,
    ):
        return process.ready


def _check_installed(form: Form) -> None:
    missing = [name for name in form.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise LeftOutError(f"{missing[0]} is not installed")


@contextlib.contextmanager
def _running(process: Process) -> Iterator[Process]:
    try:
        yield process
    finally:
        process.end()


def unequal(ready: Mapping[str, Any]) -> dict[str, str]:
    """Why contenders do other work than the first: another number of parameters, or a loss that does not fall."""
    found: dict[str, str] = {}
    count = next((process.ready["parameters"] for process in ready.values()), 0)
    for name, process in ready.items():
        parameters, losses = process.ready["parameters"], process.ready["losses"]
        if parameters != count:
            found[name] = f"it has {parameters} parameters, {next(iter(ready))} {count}"
        elif len(losses) > 1 and not losses[-1] < losses[0]:
            found[name] = f"its loss went from {losses[0]:.4g} to {losses[-1]:.4g}"
    return found


def look_at_restriction(forms: Sequence[Form], place: Place, rounds: int) -> Bite:
    """Time a product of each framework as the place holds it, and without the restriction."""
    firsts = {_library(form): form for form in reversed(forms)}
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="phlox-bench-") as folder, contextlib.ExitStack() as stack:
        timers: dict[str, dict[str, Callable[[], float]]] = {}
        for name, form in reversed(firsts.items()):
            try:
                _check_installed(form)
                both = {
                    isa: stack.enter_context(_running(Process("product", form, replace(place, isa=isa), Path(folder))))
                    for isa in (place.isa, NATIVE)
                }
            except LeftOutError as reason:
                notes.append(f"{name} is left out: {reason}")
                continue
            timers[name] = {isa: lambda process=process: process.ask(10)["seconds"] for isa, process in both.items()}
        return bite(place.isa, timers, rounds, notes)


def _library(form: Form) -> str:
    return f"{form.framework} on {form.env['KERAS_BACKEND']}" if "KERAS_BACKEND" in form.env else form.framework
