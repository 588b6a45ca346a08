"""Contenders that all load one saved model: each in a process of its own, of which one at a time does anything."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from _measure import Bar, Table, Times, fastest, interleave, median, quartiles, record, short, spreads
from _processes import LeftOutError, Place, Process
from _worker import forget_peak, resident
from frameworks import Form

EQUAL = 1e-3  # of a number that contenders must agree on before they start, relative
Ready = tuple[Callable[[], float], Callable[[], Any]]  # a number that all agree on, and a step


# --- in a process of its own --------------------------------------------------------------------------


def block(step: Callable[[], Any], steps: int) -> float:
    """Seconds a step, with one wait, for the last."""
    begin = time.perf_counter()
    result = None
    for _ in range(steps):
        result = step()
    float(result.reshape(-1)[-1])  # pyright: ignore[reportOptionalMemberAccess]
    return (time.perf_counter() - begin) / steps


def serve(made: Callable[[], Ready]) -> None:
    """Make a contender ready, then time a block for each line of JSON that comes in."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        gc.collect()
        forget_peak()
        before = resident("VmRSS")
        check, step = made()
        begin = check()
        first = block(step, 1)
        block(step, 2)
        answer(loss=begin, first=first, after=check())
        for line in sys.stdin:
            if json.loads(line) == "memory":
                peak = resident("VmHWM")
                answer(peak=None if peak is None or before is None else peak - before)
            else:
                block(step, 1)  # fills the caches again
                answer(seconds=block(step, json.loads(line)))
    except Exception as error:
        answer(error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def threads() -> int:
    """How many cores a process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2


# --- all of them --------------------------------------------------------------------------------------


class Contender(Process):
    """A contender's process: a script that is called with ``--child``, a form, a folder and a kind of step."""

    def __init__(self, script: str, form: Form, folder: Path, kind: str, place: Place):
        arguments = [sys.executable, script, "--child", form.name, str(folder), kind]
        env = place.env(form, folder / "cache" / form.name.replace(" ", "-"))
        self.popen = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True
        )
        self.ready = self._answer()


@dataclass(frozen=True)
class Race:
    """What was measured of one model and kind of step, by contender."""

    title: str
    times: Times  # seconds a step, one number a round
    peaks: dict[str, int | None]  # bytes
    first: dict[str, float]  # seconds of the first step
    bound: float = 1.0  # what Phlox may take, in times of the fastest other


@dataclass
class Results:
    """All races of a script, the name of its tables in the page, and what its forms are called."""

    name: str
    forms: Mapping[str, Form]
    races: list[Race]
    notes: list[str]
    step: str = "a step"

    @property
    def ours(self) -> list[str]:
        return [name for name, form in self.forms.items() if form.framework == "phlox"]

    def bars(self) -> list[Bar]:
        """What Phlox is held to: the fastest of its forms, against the fastest of the others'."""
        found = []
        theirs = [name for name in self.forms if name not in self.ours]
        for race in self.races:
            mine, best = fastest(race.times, self.ours) or self.ours[0], fastest(race.times, theirs)
            what = f"{race.title}: {mine}, against {best or 'the others'}"
            found.append(Bar(what, race.bound, median(race.times, mine, best)))
        return found

    def tables(self) -> list[Table]:
        header = ["", f"ms {self.step}", "times Phlox", "quartiles, ms", "peak MiB", "first, s"]
        found = []
        for race in self.races:
            rows = []
            for name, spread in spreads(race.times, 1e3):
                against, peak = median(race.times, name, self.ours[0]), race.peaks[name]
                row = [name, short(spread.median), "–" if against is None else f"{short(against)}×", quartiles(spread)]
                rows.append([*row, "–" if peak is None else f"{peak / 2**20:.0f}", short(race.first[name])])
            found.append(Table(race.title, header, rows))
        bars = [bar.row() for bar in self.bars()]
        return [*found, Table("Bars for Phlox", ["", "asked", "measured", "verdict"], bars)]

    def json(self) -> dict[str, Any]:
        return {
            self.name: {race.title: record(race.times, 1e3, self.ours[0]) for race in self.races},
            "units": {self.name: "ms"},
            "races": [asdict(race) for race in self.races],
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()],
        }


@dataclass(frozen=True)
class Track:
    """What contenders do: a kind of step of a model in a folder, by the forms of a script."""

    script: str
    forms: Mapping[str, Form]
    folder: Path
    kind: str
    learns: bool = False  # whether the number that they agree on must fall
    place: Place = field(default_factory=Place)
    compiling: tuple[str, ...] = ()  # frameworks that start once before, so that what they compile is there

    def race(self, title: str, rounds: int, steps: int, notes: list[str], tell: Callable[[str], None]) -> Race:
        """Start all contenders, see that they do equal work, and time them in turn."""
        with self._started(notes, tell) as ready:
            tell(f"{self.folder.name}, {self.kind}: timing")
            ask = lambda process: lambda: process.ask(steps)["seconds"]  # noqa: E731
            times = interleave({key: ask(process) for key, process in ready.items()}, rounds)
            peaks = {key: process.ask("memory")["peak"] for key, process in ready.items()}
            first = {key: process.ready["first"] for key, process in ready.items()}
        return Race(title, times, peaks, first)

    def _start(self, form: Form) -> Contender:
        return Contender(self.script, form, self.folder, self.kind, self.place)

    @contextlib.contextmanager
    def _started(self, notes: list[str], tell: Callable[[str], None]) -> Iterator[dict[str, Contender]]:
        with contextlib.ExitStack() as stack:
            ready: dict[str, Contender] = {}
            for form in self.forms.values():
                tell(f"{self.folder.name}, {self.kind}: {form.name}")
                try:
                    if form.framework in self.compiling:
                        self._start(form).end()
                    ready[form.name] = self._start(form)
                    stack.callback(ready[form.name].end)
                except LeftOutError as reason:
                    notes.append(f"{self.folder.name}, {self.kind}: {form.name} is left out: {reason}")
            for name, reason in unequal(ready, self.learns).items():
                notes.append(f"{self.folder.name}, {self.kind}: {name} is left out: {reason}")
                del ready[name]
            yield ready


def unequal(ready: Mapping[str, Any], learns: bool) -> dict[str, str]:
    """Why contenders do other work than the first: another number comes out, or it does not fall where they learn."""
    found: dict[str, str] = {}
    loss = next((process.ready["loss"] for process in ready.values()), 0.0)
    for name, process in ready.items():
        mine, after = process.ready["loss"], process.ready["after"]
        if not abs(mine - loss) <= EQUAL * abs(loss):
            found[name] = f"it came to {mine:.6g}, {next(iter(ready))} to {loss:.6g}"
        elif learns and not after < mine:
            found[name] = f"its loss went from {mine:.4g} to {after:.4g}"
    return found


def child(arguments: Sequence[str], makers: Mapping[str, Callable[[Form, Path, str], Ready]], forms: Any) -> bool:
    """Be a contender where the command line asks for it; whether it did."""
    if arguments[1:2] != ["--child"]:
        return False
    form = forms[arguments[2]]
    serve(lambda: makers[form.framework](form, Path(arguments[3]), arguments[4]))
    return True
