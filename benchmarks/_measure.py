"""Fair timing: everything that is compared runs in turn, in one process, and is compared round by round."""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import jax
import rich.box
import rich.console
import rich.table

Times = dict[str, list[float]]  # seconds of each contender, one number a round


def pin(cores: int) -> int:
    """Keep this process and its children on some cores, where the system can; return how many are left.

    Threads that run already stay where they are, so call this before a backend makes its pool.
    """
    if not hasattr(os, "sched_setaffinity"):
        return os.cpu_count() or 1
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    os.sched_setaffinity(0, allowed)
    return len(allowed)


def interleave(timers: Mapping[str, Callable[[], float]], rounds: int) -> Times:
    """Run every timer once a round, each round starting with the next one; return what they measured.

    Slow drifts of the machine (heat, neighbours) then touch all contenders alike, and nobody always follows
    the same one. What was allocated before is kept out of the garbage collector's rounds.
    """
    names = list(timers)
    times: Times = {name: [] for name in names}
    gc.collect()
    gc.freeze()
    try:
        for r in range(rounds):
            first = r % len(names) if names else 0
            for name in (*names[first:], *names[:first]):
                times[name].append(timers[name]())
    finally:
        gc.unfreeze()
    return times


def import_seconds(module: str, after: str) -> float:
    """Seconds that ``import module`` takes in a fresh interpreter which has imported ``after``."""
    program = f"import time, {after}; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}  # users have compiled files
    done = subprocess.run([sys.executable, "-P", "-c", program], env=env, capture_output=True, text=True, check=True)
    return float(done.stdout)


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(low, median, high)

    def scaled(self, factor: float) -> Spread:
        return Spread(self.low * factor, self.median * factor, self.high * factor)


def ratio(times: Times, name: str, against: str) -> Spread:
    """How many times as long one contender took as another, from the ratios of the single rounds."""
    return Spread.of([a / b for a, b in zip(times[name], times[against], strict=True)])


def fastest(times: Times, names: Sequence[str]) -> str | None:
    """Of some contenders, the one with the smallest median; None where none of them ran."""
    return min((n for n in names if n in times), key=lambda n: statistics.median(times[n]), default=None)


def median(times: Times, name: str | None, against: str | None) -> float | None:
    """The median ratio of two contenders; None where one of them is missing."""
    if name is None or against is None or name not in times or against not in times:
        return None
    return ratio(times, name, against).median


def spreads(times: Times, factor: float) -> list[tuple[str, Spread]]:
    """Median and quartiles of each contender, in another unit than seconds."""
    return [(name, Spread.of(values).scaled(factor)) for name, values in times.items()]


def quartiles(spread: Spread) -> str:
    return f"{short(spread.low)} – {short(spread.high)}"


def record(times: Times, factor: float, against: str | None = None) -> dict[str, Any]:
    """All numbers of a race, ready for JSON."""
    found: dict[str, Any] = {name: asdict(spread) for name, spread in spreads(times, factor)}
    for name, numbers in found.items():
        if against in times:
            numbers |= {"ratio": asdict(ratio(times, name, against)), "ratio_to": against}
    return found


@dataclass(frozen=True)
class Bar:
    """What a measured number is held to: at most a bound, or at least."""

    what: str
    bound: float
    value: float | None  # None: a contender was missing
    unit: str = "×"
    at_most: bool = True

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return "pass" if (self.value <= self.bound if self.at_most else self.value >= self.bound) else "miss"

    def row(self) -> list[str]:
        asked = f"{'≤' if self.at_most else '≥'} {self.bound:g} {self.unit}"
        return [self.what, asked, "–" if self.value is None else f"{short(self.value)} {self.unit}", self.verdict]


def short(number: float) -> str:
    """A number with three digits that count, and all of those before the point."""
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"


@dataclass(frozen=True)
class Table:
    """Rows of text under a header, for the terminal and for a page."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def rich(self) -> rich.table.Table:
        table = rich.table.Table(title=self.title, title_justify="left", box=rich.box.SIMPLE)
        for i, name in enumerate(self.header):
            table.add_column(name, justify="right" if i else "left")
        for row in self.rows:
            table.add_row(*row, style={"miss": "bold red", "pass": "green"}.get(row[-1]))
        return table

    def markdown(self) -> str:
        line = lambda cells: f"| {' | '.join(cells)} |"  # noqa: E731
        rule = "|" + "|".join(["---", *["---:"] * (len(self.header) - 1)]) + "|"
        return "\n".join([f"**{self.title}**", "", line(self.header), rule, *map(line, self.rows)])


def machine(cores: int) -> dict[str, Any]:
    """What the numbers depend on outside the programs; the load is that of the last minute."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "cores_used": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def rewritten(page: str, name: str, text: str) -> str:
    """A page with the text between the markers of a name replaced.

    Raises:
        ValueError: the page does not hold both markers, in order.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, found, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page must hold the line {begin} and, below it, {end}")
    return f"{head}{begin}\n{text.strip()}\n{end}{tail}"


def seconds_a_step(step: Callable[[], Any], steps: int, wait: Callable[[Any], Any]) -> float:
    """Time a block of steps, with one wait, for the last result, at the end of the block."""
    result = None
    start = time.perf_counter()
    for _ in range(steps):
        result = step()
    wait(result)
    return (time.perf_counter() - start) / steps


# --- the command --------------------------------------------------------------------------------------


class Results(Protocol):
    notes: list[str]

    def tables(self) -> list[Table]: ...
    def json(self) -> dict[str, Any]: ...


def command(
    name: str,
    doc: str,
    measure: Callable[[Any, Callable[[str], None]], Results],
    full: Any,
    quick: Any,
    packages: Sequence[str],
    page: Path,
    arguments: Sequence[str] | None,
) -> int:
    """Measure on two cores at most, print the tables, and write what the options ask for.

    ``measure`` takes one of the settings, and a function to call with what it is about to do. A missed bar
    is no error: the exit status is 0.
    """
    options = _options(doc, page, arguments)
    settings = quick if options.quick else full
    about = _setting_out(settings, packages)
    console = rich.console.Console()
    with console.status("measuring") as status:
        results = measure(settings, status.update)
    load = about["machine"]["load"]
    if load is not None and load > 0.5:
        results.notes.append(f"the machine was busy before the run (load {load}): run this again when it is quiet")
    for table in results.tables():
        console.print(table.rich())
    for note in results.notes:
        console.print(f"note: {note}", markup=False)
    if options.json:
        numbers = about | results.json() | {"quick": options.quick, "notes": results.notes}
        options.json.write_text(json.dumps(numbers, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if options.write:
        text = page_text(results, about, options.quick)
        page.write_text(rewritten(page.read_text("utf-8"), name, text), "utf-8")
    return 0


def _options(doc: str, page: Path, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it runs, measures little")
    parser.add_argument("--json", metavar="PATH", type=Path, help="write all numbers to a file")
    parser.add_argument("--write", action="store_true", help=f"rewrite the tables in {page.parent.name}/{page.name}")
    return parser.parse_args(arguments)


def _setting_out(settings: Any, packages: Sequence[str]) -> dict[str, Any]:
    """Narrow the process down to two cores and, unless JAX_PLATFORMS asks for another, to the CPU; say where we are."""
    cores = pin(2)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # for children; here JAX is imported, and has read it
    jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(cores),
        "device": jax.devices()[0].platform,
        "versions": versions(packages),
        "settings": asdict(settings),
    }


def page_text(results: Results, about: Mapping[str, Any], quick: bool) -> str:
    """What stands between the markers of a page: where it was measured, the tables, the notes."""
    box = about["machine"]
    packages = ", ".join(f"{package} {version}" for package, version in about["versions"].items())
    cores = f"{box['cores_used']} of {box['cores']} cores"
    where = f"{about['date'][:10]}: {box['cpu']}, {cores}, {box['system']}, {about['device']}; {packages}."
    parts = [f"Quick run, few rounds: measures little. {where}" if quick else where]
    parts += [table.markdown() for table in results.tables()]
    if results.notes:
        parts.append("\n".join(f"- {note}" for note in results.notes))
    return "\n\n".join(parts)
