"""Instructions that all contenders of a race are held to, and whether that bites: the rate of a product of each.

An environment variable that a library does not know holds nobody to anything, in silence: XLA's own flag leaves the
library that multiplies for it as it is. So the processor's wider instructions are hidden from whole processes
(native/narrower.c) where that can be done, and a product of each framework is timed with the restriction and without.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _measure import Bar, Table, Times, interleave, median, short, spreads

NATIVE = "native"
_NAMES = {  # by set: as XLA, oneDNN, MKL and PyTorch call it, and as Linux does
    "avx2": ("AVX2", "AVX2", "AVX2", "avx2", "avx2"),
    "avx512": ("AVX512", "AVX512_CORE", "AVX512", "avx512", "avx512f"),
}
SETS = (*_NAMES, NATIVE)
SIZE = 1024  # of the product's square matrices
_ROOT = Path(__file__).resolve().parent.parent
WIDER = 0.75  # with half the width, a product has at most this share of the rate


@functools.cache
def narrower() -> str | None:
    """The library that hides what is wider than AVX2 from a process that is started with it; None where none can be."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = _ROOT / "build" / "narrower.so"
    library.parent.mkdir(exist_ok=True)
    fresh = library.with_suffix(f".{os.getpid()}.so")
    options = ["-shared", "-fPIC", "-O2", "-o", str(fresh), str(_ROOT / "native" / "narrower.c"), "-ldl"]
    if subprocess.run([compiler, *options], capture_output=True, check=False).returncode:
        return None
    fresh.replace(library)  # in one step: another process may be starting with it
    tried = subprocess.run(["true"], env=os.environ | {"LD_PRELOAD": str(library)}, capture_output=True, check=False)
    return None if tried.returncode or tried.stderr else str(library)


def env(isa: str) -> dict[str, str]:
    """Variables that hold to a set: XLA, oneDNN (in Phlox's kernels too), MKL, PyTorch's own code and its compiler."""
    if isa == NATIVE:
        return {}
    xla, onednn, mkl, aten, _ = _NAMES[isa]
    hidden = narrower() if is_less(isa) else None
    loaded = os.environ.get("LD_PRELOAD", "").split()  # a sanitizer must stay the first
    return ({} if hidden is None else {"LD_PRELOAD": " ".join([*loaded, hidden])}) | {
        "XLA_FLAGS": f"--xla_cpu_max_isa={xla}",
        "ONEDNN_MAX_CPU_ISA": onednn,
        "MKL_ENABLE_INSTRUCTIONS": mkl,
        "ATEN_CPU_CAPABILITY": aten,
    }


def has(isa: str) -> bool:
    """Whether this machine runs a set; where the system does not tell, it is believed to."""
    info = Path("/proc/cpuinfo")
    if isa == NATIVE or not info.exists():
        return True
    flags = next((line for line in info.read_text("utf-8").splitlines() if line.startswith("flags")), "")
    return _NAMES[isa][-1] in flags.split()


def is_less(isa: str) -> bool:
    """Whether the set is half as wide as what this machine has."""
    return isa == "avx2" and has("avx512")


@dataclass(frozen=True)
class Bite:
    """What a restriction does to the product of each framework."""

    isa: str
    times: dict[str, Times]  # by framework: seconds of a product, held and native
    notes: list[str]

    def bars(self) -> list[Bar]:
        """A restriction to half the width that leaves the rate as it was holds nothing."""
        wanted = WIDER if is_less(self.isa) else 1.1
        return [
            Bar(
                f"{name}: a product's rate with {self.isa}, against the native one", wanted, median(t, NATIVE, self.isa)
            )
            for name, t in self.times.items()
        ]

    def tables(self) -> list[Table]:
        rows = []
        for name, times in self.times.items():
            rates = {way: 2 * SIZE**3 / spread.median / 1e9 for way, spread in spreads(times, 1)}
            share = median(times, NATIVE, self.isa)
            rows.append([name, short(rates[NATIVE]), short(rates[self.isa]), f"{short(share or 0)} ×"])
        header = ["", "native", self.isa, "share"]
        return [
            Table(f"A float32 product of {SIZE}² matrices: GFLOP/s", header, rows),
            Table(
                "Whether the restriction bites", ["", "asked", "measured", "verdict"], [b.row() for b in self.bars()]
            ),
        ]

    def json(self) -> dict[str, Any]:
        return {"isa": self.isa, "seconds": self.times, "notes": self.notes}


def bite(isa: str, timers: Mapping[str, Mapping[str, Callable[[], float]]], rounds: int, notes: list[str]) -> Bite:
    """Time the product of each framework under both sets.

    Arguments:
        timers: by framework, and by ``isa`` and ``"native"``: seconds of a product.
    """
    alone = is_less(isa) and narrower() is None
    how = ["wider instructions could not be hidden here: libraries are held by their variables alone"] if alone else []
    return Bite(isa, {name: interleave(ways, rounds) for name, ways in timers.items()}, [*notes, *how])
