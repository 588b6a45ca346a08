"""What the operations of a step take: a trace of it, read beside the program that XLA compiled.

Operations overlap on the cores, and one that waits for another's threads is counted while it waits: the sum may be
more than the step.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from _measure import Table, short

Times = Mapping[str, tuple[int, float]]  # by "module/operation": how often in a step, and seconds a step

LEAST = 0.02  # of all operations' time: what takes less is among the others
_HOLDERS = {"while", "call", "conditional"}  # they last as long as what is in them
_SHAPE = re.compile(r"\b(?:f32|bf16|f16|f64|s32|u32|s8|u8|pred|s64|u64)\[([\d,]*)\]")
_SIZES = {"f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2}
_LINE = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")


def recorded(run: Callable[[int], Any], steps: int, folder: str) -> dict[str, tuple[int, float]]:
    """Trace some steps, and sum what each operation of the compiled programs took, a step."""
    import jax

    with jax.profiler.trace(folder):
        run(steps)
    found: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    data = jax.profiler.ProfileData.from_file(str(max(Path(folder).rglob("*.xplane.pb"))))
    for event in (event for plane in data.planes for line in plane.lines for event in line.events):
        told = dict(event.stats)
        if "hlo_op" in told:
            both = found[f"{told.get('hlo_module', '')}/{told['hlo_op']}"]
            both[0] += 1
            both[1] += event.duration_ns / 1e9
    return {name: (round(count / steps), seconds / steps) for name, (count, seconds) in found.items()}


# --- the program ---------------------------------------------------------------------------------------


class Shape(NamedTuple):
    """An array's sizes, and the bytes of all."""

    sizes: tuple[int, ...]
    bytes: int

    @property
    def numbers(self) -> int:
        return math.prod(self.sizes)


@dataclass
class Instruction:
    """A line of a compiled program."""

    opcode: str
    results: list[Shape]
    operands: list[Shape]
    target: str = ""  # of a call
    inner: list[Instruction] = field(default_factory=list)  # of a fusion
    dims: str = ""  # a product's, which say what is a batch

    @property
    def flops(self) -> float:
        """Multiplications and additions, of what is a product at heart."""
        return sum(i.flops for i in self.inner) + _flops(self)

    @property
    def bytes(self) -> int:
        """What goes in and comes out."""
        return sum(shape.bytes for shape in (*self.operands, *self.results))


def _flops(i: Instruction) -> float:
    given, result = i.operands, i.results[0] if i.results else Shape((), 0)
    kind = i.target.removeprefix("phlox_cpu_")
    if i.opcode == "dot":
        batch = math.prod(given[0].sizes[int(n)] for n in re.findall(r"\d+", i.dims))
        return 2 * math.sqrt(given[0].numbers * given[1].numbers * result.numbers / batch)
    if kind == "product":
        return 2 * math.sqrt(given[0].numbers * given[1].numbers * result.numbers)
    if kind == "packed_map":  # every input meets every output
        return 2 * given[0].numbers * result.sizes[-1]
    if kind.startswith("attention") and not kind.endswith("backward"):  # queries meet keys, weights values
        _, queries, heads, size = given[0].sizes
        return 2 * given[0].sizes[0] * heads * queries * given[1].sizes[1] * (size + given[2].sizes[-1])
    if kind.startswith("conv"):  # weights meet every place of the output
        y, w = {"input_gradient": (given[0], given[1]), "weight_gradient": (given[1], result)}.get(
            kind.removeprefix("conv_"), (result, given[1])
        )
        return 2 * y.numbers / y.sizes[-1] * w.numbers
    if kind.startswith(("lstm", "gru")):  # a step's product with the state, at each place in time
        w, of_time = (given[0], given[-1]) if kind.endswith("gradient") else (given[1], given[0])
        return 2 * w.numbers * math.prod(of_time.sizes[:2])
    return 0.0


def programs(folder: Path) -> dict[str, Instruction]:
    """The instructions of all programs that XLA wrote to a folder, by "module/name"."""
    found: dict[str, Instruction] = {}
    for path in sorted(folder.glob("*after_optimizations.txt")):
        found |= parsed(path.read_text("utf-8"))
    return found


def parsed(text: str) -> dict[str, Instruction]:
    """The instructions of one program, by "module/name", each fusion with what is in it."""
    named = re.match(r"HloModule ([^\s,]+)", text)
    module = named[1] if named else ""
    found: dict[str, Instruction] = {}
    inside: dict[str, list[Instruction]] = defaultdict(list)
    called: dict[str, str] = {}
    computation = ""
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith((" ", "HloModule")):
            computation = line.removeprefix("ENTRY ").split()[0].lstrip("%")
            continue
        matched = _LINE.match(line)
        if matched is None:
            continue
        name, result, opcode, rest = matched.groups()
        names = re.findall(r"%([\w.\-]+)", rest.split(")")[0])
        known = [found[f"{module}/{n}"] for n in names if f"{module}/{n}" in found]
        instruction = Instruction(opcode, _shapes(result), [shape for i in known for shape in i.results])
        target = re.search(r'custom_call_target="([^"]+)"', rest)
        instruction.target = target[1] if target else ""
        dims = re.search(r"lhs_batch_dims=\{([\d,]*)\}", rest)
        instruction.dims = dims[1] if dims else ""
        found[f"{module}/{name}"] = instruction
        inside[computation].append(instruction)
        calls = re.search(r"calls=%?([\w.\-]+)", rest)
        if calls:
            called[f"{module}/{name}"] = calls[1]
    for name, computation in called.items():
        found[name].inner = inside[computation]
    return found


def _shapes(text: str) -> list[Shape]:
    found = []
    for matched in _SHAPE.finditer(text):
        sizes = tuple(int(n) for n in matched[1].split(",") if n)
        kind = matched[0].partition("[")[0]
        found.append(Shape(sizes, math.prod(sizes) * _SIZES.get(kind, 1)))
    return found


# --- the tables ----------------------------------------------------------------------------------------


class Row(NamedTuple):
    calls: int
    seconds: float
    flops: float
    bytes: float


@dataclass(frozen=True)
class Operations:
    """Where the time of a workload's step goes."""

    title: str
    step: float  # seconds, the least of some rounds, with no trace
    times: Times
    instructions: Mapping[str, Instruction]

    def rows(self) -> dict[str, Row]:
        """By kind of operation, the longest first."""
        sums: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0, 0.0])
        for name, (calls, seconds) in self.times.items():
            instruction = self.instructions.get(name)
            if instruction is None or instruction.opcode in _HOLDERS:
                continue
            values = calls, seconds, calls * instruction.flops, calls * instruction.bytes
            kind = self._kind(name, instruction)
            sums[kind] = [a + b for a, b in zip(sums[kind], values, strict=True)]
        ordered = sorted(sums.items(), key=lambda item: -item[1][1])
        return {kind: Row(round(row[0]), *row[1:]) for kind, row in ordered}

    @staticmethod
    def _kind(name: str, i: Instruction) -> str:
        if i.target:
            return i.target.removeprefix("phlox_cpu_").replace("_", " ")
        if i.flops:
            return "XLA: product"
        return "XLA: " + re.sub(r"[.\d]+$", "", name.partition("/")[2]).replace("_", " ")

    def table(self, rates: Mapping[str, float]) -> Table:
        """The rows, and what arithmetic alone and memory alone would take at the rates that the machine reaches."""
        rows, total = self.rows(), sum(row.seconds for row in self.rows().values())
        shown = {kind: row for kind, row in rows.items() if row.seconds >= LEAST * total}
        rest = [row for kind, row in rows.items() if kind not in shown]
        if rest:
            shown["others"] = Row(*(sum(column) for column in zip(*rest, strict=True)))
        cells = [[kind, str(row.calls), short(1e3 * row.seconds), *_work(row)] for kind, row in shown.items()]
        flops = sum(row.flops for row in rows.values())
        moved = sum(row.bytes for row in rows.values() if not row.flops)
        at = f"{short(rates['flops'] / 1e9)} GFLOP/s", f"{short(rates['bytes'] / 1e9)} GB/s"
        cells += [
            ["all", str(sum(row.calls for row in rows.values())), short(1e3 * total), "", ""],
            ["the step, without a trace", "", short(1e3 * self.step), "", ""],
            ["its products alone, at a product's rate", "", short(1e3 * flops / rates["flops"]), _giga(flops), at[0]],
            ["the other operations, at a pass's rate", "", short(1e3 * moved / rates["bytes"]), _mega(moved), at[1]],
        ]
        return Table(f"{self.title}: the operations of a step", ["", "calls", "ms", "work", "rate"], cells)


def _work(row: Row) -> tuple[str, str]:
    if row.flops:
        return _giga(row.flops), f"{short(row.flops / row.seconds / 1e9)} GFLOP/s"
    return _mega(row.bytes), f"{short(row.bytes / row.seconds / 1e9)} GB/s"


def _giga(flops: float) -> str:
    return f"{short(flops / 1e9)} GFLOP"


def _mega(moved: float) -> str:
    return f"{short(moved / 1e6)} MB"


@dataclass(frozen=True)
class Profiles:
    """The tables of some workloads, and the rates that they are held against."""

    operations: Sequence[Operations]
    rates: Mapping[str, float]  # "flops" and "bytes" a second
    notes: Sequence[str] = ()

    def tables(self) -> list[Table]:
        return [found.table(self.rates) for found in self.operations]

    def json(self) -> dict[str, Any]:
        rows = {found.title: {k: row._asdict() for k, row in found.rows().items()} for found in self.operations}
        return {"rates": dict(self.rates), "step": {o.title: o.step for o in self.operations}, "operations": rows}
