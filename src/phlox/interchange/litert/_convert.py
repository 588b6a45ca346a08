"""Programs of known sizes as the bytes of a LiteRT file, and what is said where that fails."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phlox.core import ExportError
from phlox.interchange.litert import _module

if TYPE_CHECKING:
    from phlox.interchange._program import Program

PACKAGES = ("litert_converter", "ai_edge_litert", "flatbuffers")
"""What writes a file, and what runs it."""

LIMIT = 1 << 31
"""Bytes that one file can have."""

_SCRIPT = Path(__file__).with_name("_converter.py")
_LAYER = re.compile(r'layer:([^/"]+)')
_OPERATION = re.compile(r"operation '(?:tfl\.|tf\.|stablehlo\.|mhlo\.)?(\w+)'")


def to_litert(programs: Sequence[Program]) -> bytes:
    """One file, with a signature for each program; weights that several of them have are in it once.

    The converter runs in a process of its own, so that it takes nothing along where it breaks off.

    Raises:
        ExportError: a program has an operation that LiteRT has no form for, weights are too many for one file, or the
            converter broke off.
    """
    _check_size(programs)
    with tempfile.TemporaryDirectory(prefix="phlox-litert-") as folder:
        place = Path(folder)
        request = [_asked(place, i, program) for i, program in enumerate(programs)]
        (place / "request.json").write_text(json.dumps(request), "utf-8")
        ended = _run(place)
        if ended.returncode:
            raise _refusal(place, ended, programs[0].where)
        return (place / "model.tflite").read_bytes()


def _check_size(programs: Sequence[Program]) -> None:
    """Refuse weights that one file cannot hold, before they are written out as text."""
    size = sum({name: x.nbytes for program in programs for name, x in program.weights.items()}.values())
    if size >= LIMIT:
        fix = "px.bf16(model) has half as many bytes; or choose a format that has weights in a file of their own: onnx"
        got, where = f"{size / LIMIT:.2f} times as many", programs[0].where
        raise ExportError(f"weights below {LIMIT:,} bytes, as a LiteRT file is one", got=got, fix=fix, where=where)


def _asked(place: Path, index: int, program: Program) -> dict[str, Any]:
    """What the converter is told of a program, whose module is written."""
    name = f"{index}.mlir"
    (place / name).write_text(_module.module_text(program), "utf-8")
    return {
        "name": program.name,
        "symbol": f"signature_{index}",
        "inputs": list(program.inputs),
        "outputs": list(program.output_names),
        "file": name,
    }


def _run(place: Path) -> subprocess.CompletedProcess[str]:
    """The converter's process, which finds packages where this one does."""
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-P", str(_SCRIPT), str(place)]
    return subprocess.run(command, env=found, capture_output=True, text=True, errors="replace", check=False)


def _refusal(place: Path, ended: subprocess.CompletedProcess[str], where: str) -> ExportError:
    """The error of programs that are not written: the layer and the operation, as far as they are known."""
    told = place / "refusal.txt"
    if not told.is_file():
        last = (ended.stderr.strip().splitlines() or ["no word"])[-1]
        return ExportError(
            "litert-converter to write a file", got=f"a process that ended by {_end(ended.returncode)}: {last[:200]}",
            fix="nothing was written; another version of litert-converter or another format may do", where=where,
        )  # fmt: skip
    message = " ".join(told.read_text("utf-8").split())
    layer = max(_LAYER.findall(message.partition("operation '")[0]), key=len, default="the model itself")
    operation = "".join(_OPERATION.findall(message)[:1]) or "one that it does not name"
    got = f"{operation} at {layer}: {message[:300]}"
    return ExportError(
        "operations that LiteRT has", got=got, where=where,
        fix="write that layer in other operations, or choose another format",
    )  # fmt: skip


def _end(code: int) -> str:
    """How a process ended, in words."""
    try:
        return signal.Signals(-code).name if code < 0 else f"exit {code}"
    except ValueError:
        return f"signal {-code}"
