"""Whole models in Phlox and in what people would use instead: one step, or one pass, of each, in one run.

docs/performance.md says what is measured and how; .venv-bench/bin/python benchmarks/against_peers.py runs it.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich.console
from _instructions import NATIVE, SETS, has
from _measure import (
    Bar,
    Spread,
    Table,
    Times,
    fastest,
    machine,
    median,
    page_text,
    pin,
    quartiles,
    record,
    rewritten,
    short,
    versions,
)
from _operations import Profiles
from _processes import Pace, Place, Race, look_at_restriction, profiled, race, rates
from frameworks import FORMS, Form
from workloads import WORKLOADS, Workload

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
PACKAGES = ("phlox", "jax", "jaxlib", "optax", "numpy", "equinox", "flax", "keras", "tensorflow-cpu", "torch")
PHLOX, KEPT, SCAN = "Phlox", "Phlox, memory kept", "JAX, lax.scan"
ROUNDS, QUICK = 15, 2


@dataclass(frozen=True)
class Results:
    """One workload's race as tables and numbers."""

    race: Race

    @property
    def notes(self) -> Sequence[str]:
        return self.race.notes

    def bars(self) -> list[Bar]:
        """What Phlox is held to, against the fastest peer of the run."""
        times, workload = self.race.times, self.race.workload
        single, many = _peers(times, many=False), _peers(times, many=True)
        best, ours = fastest(times, single), fastest(times, _ours(times, many=False)) or PHLOX
        bars = [Bar(f"{workload.title}: {ours}, against {best or 'the fastest peer'}", 1.0, median(times, ours, best))]
        if workload.bar < 1.0:
            bars.append(Bar("the same, the goal", workload.bar, median(times, ours, best)))
        if workload.tiny:
            ours, theirs = fastest(times, _ours(times, many=True)), fastest(times, many)
            bars += [
                Bar("the same, many steps in one dispatch, against jax.lax.scan", 1.0, median(times, ours, SCAN)),
                Bar(f"the same, against {theirs or 'the fastest peer'}", 1.0, median(times, ours, theirs)),
                Bar(f"the same, against single steps of {best}", 0.6, median(times, ours, best)),
            ]
        return [*bars, self._memory(single)]

    def _memory(self, peers: Sequence[str]) -> Bar:
        peaks = {name: peak for name, peak in self.race.peaks.items() if peak}
        least = min((name for name in peers if name in peaks), key=peaks.__getitem__, default=None)
        value = peaks[PHLOX] / peaks[least] if least and PHLOX in peaks else None
        return Bar(f"peak memory, against {least or 'the least of a peer'}", 1.0, value)

    def tables(self) -> list[Table]:
        times, peaks = self.race.times, self.race.peaks
        rows = []
        for name, values in times.items():
            spread, against = Spread.of(values).scaled(1e3), median(times, name, PHLOX)
            times_ours = "–" if against is None else f"{short(against)}×"
            peak = peaks[name]
            held = "–" if peak is None else f"{peak / 2**20:.0f}"
            firsts = [short(found[name]) if name in found else "–" for found in (self.race.cold, self.race.warm)]
            rows.append([name, short(spread.median), times_ours, quartiles(spread), held, *firsts])
        unit = "pass" if self.race.workload.infers else "step"
        header = ["", f"ms a {unit}", "times Phlox", "quartiles, ms", "peak MiB", "first, s", "first, cached, s"]
        bars = [bar.row() for bar in self.bars()]
        return [
            Table(self.race.workload.title, header, rows),
            Table("Bars for Phlox", ["", "asked", "measured", "verdict"], bars),
        ]

    def json(self) -> dict[str, Any]:
        measured = dataclasses.asdict(self.race) | {"workload": self.race.workload.title}
        bars = [dataclasses.asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()]
        return measured | {"times": record(self.race.times, 1e3, PHLOX), "unit": "ms", "bars": bars}


def _peers(times: Times, many: bool) -> list[str]:
    return [f.name for f in FORMS if f.framework != "phlox" and f.many == many and f.name in times]


def _ours(times: Times, many: bool) -> list[str]:
    return [f.name for f in FORMS if f.framework == "phlox" and f.many == many and f.name in times]


def _forms(workload: Workload, peers: Sequence[str] | None) -> list[Form]:
    """Who takes part in a workload: those that suit it, of the frameworks or names that were asked for."""
    return _asked([form for form in FORMS if form.suits(workload)], peers)


def _asked(forms: Sequence[Form], peers: Sequence[str] | None) -> list[Form]:
    if peers is None:
        return list(forms)
    wanted = lambda form: any(peer.lower() in (form.framework, form.name.lower()) for peer in peers)  # noqa: E731
    return [form for form in forms if form.framework == "phlox" or wanted(form)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Race in all workloads that are asked for. A missed bar is no error: the exit status is 0."""
    options = _options(arguments)
    place = Place(pin(2), options.device, options.isa)
    console = rich.console.Console()
    numbers: dict[str, Any] = {}
    if options.profile:
        return _profile(options, place, console)
    if options.isa != NATIVE:
        with console.status(f"what {options.isa} leaves of a product's rate"):
            bite = look_at_restriction(_asked(FORMS, options.peers), place, options.rounds)
        _show(console, bite)
        numbers["product"] = bite.json()
        if options.write:
            _write(f"peers product {options.isa}", bite, _about(place, options.rounds), options.quick)
    for name in options.only or WORKLOADS:
        workload = WORKLOADS[name]
        about = _about(place, options.rounds)
        steps = workload.batches if options.quick else workload.steps
        pace = Pace(options.rounds, steps, cold=not options.quick and not options.warm)
        with console.status(workload.title) as status:
            results = Results(race(workload, _forms(workload, options.peers), place, pace, status.update))
        _show(console, results)
        numbers[name] = about | results.json() | {"quick": options.quick}
        if options.write:
            block = f"peers {name}" if place.isa == NATIVE else f"peers {name} {place.isa}"
            _write(block, results, about, options.quick)
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return 0


def _profile(options: argparse.Namespace, place: Place, console: rich.console.Console) -> int:
    """What the operations of Phlox's own steps take, of the workloads that are asked for."""
    form = next(form for form in FORMS if form.name == KEPT)
    with console.status("tracing") as status:
        found = []
        for name in options.only or WORKLOADS:
            status.update(WORKLOADS[name].title)
            found.append(profiled(WORKLOADS[name], form, place, options.rounds))
        results = Profiles(found, rates(form, place))
    _show(console, results)
    about = _about(place, options.rounds)
    if options.write:
        _write("peers profile" if place.isa == NATIVE else f"peers profile {place.isa}", results, about, options.quick)
    if options.json:
        options.json.write_text(json.dumps(about | results.json(), indent=2, ensure_ascii=False) + "\n", "utf-8")
    return 0


def _show(console: rich.console.Console, results: Any) -> None:
    for table in results.tables():
        console.print(table.rich())
    for note in results.notes:
        console.print(f"note: {note}", markup=False)


def _write(block: str, results: Any, about: Mapping[str, Any], quick: bool) -> None:
    PAGE.write_text(rewritten(PAGE.read_text("utf-8"), block, page_text(results, about, quick)), "utf-8")


def _about(place: Place, rounds: int) -> dict[str, Any]:
    device = "gpu, bfloat16" if place.device == "gpu" else place.device
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(place.cores),
        "device": device if place.isa == NATIVE else f"{device} held to {place.isa}",
        "versions": versions(PACKAGES),
        "rounds": rounds,
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", metavar="WORKLOAD", nargs="+", choices=WORKLOADS, help=", ".join(WORKLOADS))
    parser.add_argument("--peers", metavar="PEER", nargs="+", help="frameworks or names of rows, beside Phlox")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="gpu computes in bfloat16")
    parser.add_argument("--isa", choices=SETS, default=NATIVE, help="hold all to these instructions; looks if it bites")
    parser.add_argument("--profile", action="store_true", help="what the operations of Phlox's steps take; no race")
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS} by default")
    parser.add_argument("--warm", action="store_true", help="leave out first steps with nothing compiled before")
    parser.add_argument("--quick", action="store_true", help="few steps: shows that it runs, measures little")
    parser.add_argument("--json", metavar="PATH", type=Path, help="write all numbers to a file")
    parser.add_argument("--write", action="store_true", help=f"rewrite the tables in docs/{PAGE.name}")
    options = parser.parse_args(arguments)
    if not has(options.isa):
        parser.error(f"this processor has no {options.isa}")
    options.rounds = options.rounds or (QUICK if options.quick else ROUNDS)
    return options


if __name__ == "__main__":
    raise SystemExit(main())
