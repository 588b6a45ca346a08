"""Inference on the CPU beside ONNX Runtime, OpenVINO and torch.compile, with the same weights in each.

Each contender has a process of its own, and they take turns. docs/performance.md says what is measured and how;
`scripts/install .venv-serve-openvino openvino` fetches OpenVINO, which is left out else.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich.console
from _inferring import BATCHES, NETWORKS, Network, write
from _instructions import NATIVE, SETS, has
from _measure import (
    Bar,
    Table,
    fastest,
    machine,
    median,
    page_text,
    pin,
    quartiles,
    record,
    rewritten,
    short,
    spreads,
    versions,
)
from _operations import Profiles
from _processes import Place
from _runtimes import MAKERS, OPENVINO
from _saved_models import Race, Track, child
from _traced import profile
from frameworks import Form

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
PACKAGES = ("phlox", "phlox-cpu", "jax", "jaxlib", "numpy", "onnx", "onnxruntime", "torch", "transformers")
FRAMEWORKS = {"phlox": "Phlox", "onnx": "ONNX Runtime", "openvino": "OpenVINO", "torch": "torch.compile"}
PRECISIONS = ("float32", "bfloat16", "int8")
FORMS = {
    f"{title}, {precision}": Form(f"{title}, {precision}", framework, precision)
    for precision in PRECISIONS
    for framework, title in FRAMEWORKS.items()
}
GOAL = 0.9
ROUNDS, QUICK = 9, 2


def forms(network: Network, precision: str) -> dict[str, Form]:
    """Who takes part: ONNX Runtime has no bfloat16 here, OpenVINO and PyTorch integers for some networks alone."""
    if precision != "float32" and not network.narrow:
        return {}
    without = {"bfloat16": "onnx", "int8": "openvino" if network.of_tokens else "torch"}.get(precision)
    return {name: form for name, form in FORMS.items() if form.kind == precision and form.framework != without}


def multiplies_bfloat16(isa: str) -> bool:
    """Whether the processor does, with the instructions that it is held to."""
    return isa == NATIVE and any(
        f" {flag}" in Path("/proc/cpuinfo").read_text("utf-8") for flag in ("amx_bf16", "avx512_bf16")
    )


@dataclass(frozen=True)
class Results:
    """The races of a network: one for each batch and precision."""

    network: Network
    races: Sequence[tuple[str, Race]]  # with the precision of each
    notes: Sequence[str]

    def bars(self) -> list[Bar]:
        """What Phlox is held to: the fastest of the others, and ONNX Runtime's memory."""
        found = []
        for precision, race in self.races:
            ours, best = (
                f"Phlox, {precision}",
                fastest(race.times, [n for n in race.times if not n.startswith("Phlox")]),
            )
            value = median(race.times, ours, best)
            found += [
                Bar(f"{race.title}, {precision}: Phlox, against {best or 'the others'}", 1.0, value),
                Bar("the same, the goal", GOAL, value),
                self._memory(race, ours, f"ONNX Runtime, {precision}"),
            ]
        return found

    def _memory(self, race: Race, ours: str, other: str) -> Bar:
        mine, theirs = race.peaks.get(ours), race.peaks.get(other)
        return Bar(f"peak memory, against {other}", 1.0, mine / theirs if mine and theirs else None)

    def tables(self) -> list[Table]:
        factor, unit = (1e6, "µs") if self.network.calls >= 100 else (1e3, "ms")
        header = ["", f"{unit} a call", "times Phlox", f"quartiles, {unit}", "peak MiB"]
        rows = []
        for precision, race in self.races:
            for name, spread in spreads(race.times, factor):
                against, peak = median(race.times, name, f"Phlox, {precision}"), race.peaks[name]
                times = "–" if against is None else f"{short(against)}×"
                held = "–" if peak is None else f"{peak / 2**20:.0f}"
                label = f"{race.title}: {name}"
                rows.append([label, short(spread.median), times, quartiles(spread), held])
        bars = [bar.row() for bar in self.bars()]
        return [
            Table(self.network.title, header, rows),
            Table("Bars for Phlox", ["", "asked", "measured", "verdict"], bars),
        ]

    def json(self) -> dict[str, Any]:
        races = [dataclasses.asdict(race) | {"precision": precision} for precision, race in self.races]
        numbers = {f"{race.title}, {p}": record(race.times, 1e3, f"Phlox, {p}") for p, race in self.races}
        bars = [dataclasses.asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()]
        return {"times": numbers, "unit": "ms", "races": races, "bars": bars}


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    place: Place
    rounds: int
    small: bool
    batches: Sequence[int] = BATCHES
    precisions: Sequence[str] = PRECISIONS


def _written(network: Network, made: str, plan: Plan, tell: Any) -> Path:
    """A folder with the network, its examples and its files."""
    folder = Path(made)
    tell(f"{network.title}: writing it")
    (folder / "about.json").write_text(json.dumps({"small": plan.small}))
    write(network, folder, plan.small)
    return folder


def measure(name: str, plan: Plan, tell: Any) -> Results:
    """All races of a network."""
    network, notes, races = NETWORKS[name], list[str](), []
    with tempfile.TemporaryDirectory(prefix="phlox-bench-") as made:
        folder = _written(network, made, plan, tell)
        for precision in plan.precisions:
            for batch in plan.batches:
                if not (racing := forms(network, precision)):
                    continue
                track = Track(
                    __file__, racing, folder, f"{name}@{batch}", place=plan.place, compiling=("phlox", "torch")
                )
                races.append((precision, track.race(f"batch {batch}", plan.rounds, network.steps(batch), notes, tell)))
    return Results(network, races, notes)


def profiled(name: str, plan: Plan, tell: Any) -> list[Profiles]:
    """What the operations of Phlox's calls of a network take, at each batch and in each precision of floats."""
    network, found = NETWORKS[name], []
    with tempfile.TemporaryDirectory(prefix="phlox-bench-") as made:
        folder = _written(network, made, plan, tell)
        for precision in plan.precisions:
            for batch in plan.batches if precision != "int8" and forms(network, precision) else ():
                title = f"{network.title}, batch {batch}, {precision}"
                tell(title)
                form = FORMS[f"Phlox, {precision}"]
                found.append(profile(title, folder, f"{name}@{batch}", form, plan.place))
    return found


def _profile(options: argparse.Namespace, plan: Plan, console: rich.console.Console) -> int:
    tables: list[Table] = []
    with console.status("tracing") as status:
        for name in options.only:
            tables += [table for found in profiled(name, plan, status.update) for table in found.tables()]
    for table in tables:
        console.print(table.rich())
    if options.write:
        block = "inference profile" if plan.place.isa == NATIVE else f"inference profile {plan.place.isa}"
        text = page_text(Shown(tables), _about(plan.place, options.rounds), options.quick)
        PAGE.write_text(rewritten(PAGE.read_text("utf-8"), block, text), "utf-8")
    return 0


@dataclass(frozen=True)
class Shown:
    """Tables as a page has them."""

    found: Sequence[Table]
    notes: Sequence[str] = ()

    def tables(self) -> Sequence[Table]:
        return self.found


def main(arguments: Sequence[str] | None = None) -> int:
    """Race all networks that are asked for. A missed bar is no error: the exit status is 0."""
    options = _options(arguments)
    place = Place(pin(2), isa=options.isa)
    console = rich.console.Console()
    plan = Plan(place, options.rounds, options.quick, options.batches, options.precisions)
    if options.profile:
        return _profile(options, plan, console)
    numbers: dict[str, Any] = {}
    for name in options.only:
        about = _about(place, options.rounds)
        with console.status(NETWORKS[name].title) as status:
            results = measure(name, plan, status.update)
        for table in results.tables():
            console.print(table.rich())
        for note in results.notes:
            console.print(f"note: {note}", markup=False)
        numbers[name] = about | results.json() | {"quick": options.quick, "notes": results.notes}
        if options.write:
            block = f"inference {name}" if place.isa == NATIVE else f"inference {name} {place.isa}"
            text = page_text(results, about, options.quick)
            PAGE.write_text(rewritten(PAGE.read_text("utf-8"), block, text), "utf-8")
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return 0


def _about(place: Place, rounds: int) -> dict[str, Any]:
    peers = OPENVINO.glob("lib/python*/site-packages/openvino-*.dist-info")
    found = dict([path.stem.split("-")[:2] for path in peers][:1])
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(place.cores),
        "device": "cpu" if place.isa == NATIVE else f"cpu held to {place.isa}",
        "versions": versions(PACKAGES) | found,
        "rounds": rounds,
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", metavar="NETWORK", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", type=int, nargs="+", choices=BATCHES, default=BATCHES)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--isa", choices=SETS, default=NATIVE, help="hold all to these instructions")
    parser.add_argument("--profile", action="store_true", help="what the operations of Phlox's calls take; no race")
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS} by default")
    parser.add_argument("--quick", action="store_true", help="small networks: shows that it runs, measures little")
    parser.add_argument("--json", metavar="PATH", type=Path, help="write all numbers to a file")
    parser.add_argument("--write", action="store_true", help=f"rewrite the tables in docs/{PAGE.name}")
    options = parser.parse_args(arguments)
    if not has(options.isa):
        parser.error(f"this processor has no {options.isa}")
    if not multiplies_bfloat16(options.isa):
        options.precisions = [one for one in options.precisions if one != "bfloat16"]
    options.rounds = options.rounds or (QUICK if options.quick else ROUNDS)
    return options


if __name__ == "__main__":
    if child(sys.argv, MAKERS, FORMS):
        raise SystemExit(0)
    raise SystemExit(main())
