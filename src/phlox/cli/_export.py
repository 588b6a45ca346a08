"""phlox export: a saved model, or a bundle, in other formats."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from phlox.core import RangeError
from phlox.interchange import ExportReport, Spec, export, refresh
from phlox.models import load as load_model
from phlox.weights import MANIFEST, load, read_bundle

WHERE = "phlox export"
_NAMES = ("model.phlox", "model.safetensors")
_INPUT = re.compile(r"([A-Za-z]\w*)=([\w,]*?)(?::([a-z]\w*))?(?:<(\d+))?")


def run_export(
    source: Path,
    to: Sequence[str],
    *,
    inputs: Sequence[str] = (),
    out: Path | None = None,
    anew: bool = False,
    allow: Sequence[str] = (),
) -> None:
    """Export a saved model into a bundle; or add formats to a bundle, or make its files anew.

    Arguments:
        source: a file of ``px.save``, a folder with one, a folder of the hub's, or a bundle.
        to: formats.
        inputs: of a model that is no bundle: ``name=batch,28,28,1``, with ``:int32`` for a dtype and ``<50257`` for
            what whole numbers stay below.
        out: the bundle to write; by default ``exported`` beside the model.
        anew: whether a bundle's files are to be made anew.
        allow: packages whose classes and functions the model may name.

    Raises:
        RangeError: arguments that do not go together.
        FileError: there is no model.
    """
    if (source / MANIFEST).is_file():
        report = _of_bundle(source, to, inputs, out, anew, allow)
    else:
        report = _of_model(source, to, inputs, out, anew, allow)
    Console(highlight=False).print(report)


def _of_bundle(
    source: Path, to: Sequence[str], inputs: Sequence[str], out: Path | None, anew: bool, allow: Sequence[str]
) -> ExportReport:
    if inputs or out is not None:
        fix = "leave --input and --out out: a bundle knows its inputs, and its files are replaced in its place"
        raise RangeError("a bundle with --to and --refresh alone", got=f"{source}", fix=fix, where=WHERE)
    there = read_bundle(source, where=WHERE).targets
    if not anew and set(to) <= set(there):
        fix = "name a further format with --to, or add --refresh to make the files anew"
        raise RangeError("something to do", got=f"{source}, which has {', '.join(there)}", fix=fix, where=WHERE)
    return refresh(source, to=list(to), allow=list(allow))


def _of_model(
    source: Path, to: Sequence[str], inputs: Sequence[str], out: Path | None, anew: bool, allow: Sequence[str]
) -> ExportReport:
    if anew:
        fix = f"give the folder that holds {MANIFEST}"
        raise RangeError("--refresh with a bundle", got=f"{source}", fix=fix, where=WHERE)
    if not inputs:
        fix = "say what the model takes: --input image=batch,28,28,1"
        raise RangeError("--input for a model that is no bundle", got="none", fix=fix, where=WHERE)
    specs = dict(read_spec(text, WHERE) for text in inputs)
    beside = source if source.is_dir() else source.parent
    return export(
        _model(source, allow), out or beside / "exported", inputs=specs, to=list(to) or ["stablehlo"], name=source.stem
    )


def _model(source: Path, allow: Sequence[str]) -> Any:
    """The model of a file, or of a folder that has one."""
    if source.is_dir():
        if (source / "config.json").is_file():
            return load_model(source)
        source = next((source / name for name in _NAMES if (source / name).is_file()), source / _NAMES[0])
    return load(source, allow=list(allow))


def read_spec(text: str, where: str) -> tuple[str, Spec]:
    """An input as it is written on the command line.

    Raises:
        RangeError: it is written otherwise.

    >>> read_spec("tokens=batch,time:int32<50257", "")
    ('tokens', Spec('batch', 'time', dtype='int32', below=50257))
    """
    found = _INPUT.fullmatch(text)
    if found is None:
        fix = "write it as --input image=batch,28,28,1 or --input tokens=batch,time:int32"
        raise RangeError("--input NAME=SIZES[:DTYPE][<BELOW]", got=repr(text), fix=fix, where=where)
    name, sizes, dtype, below = found.groups()
    shape = [int(n) if n.isdecimal() else n for n in sizes.split(",") if n]
    return name, Spec(*shape, dtype=dtype or "float32", below=None if below is None else int(below))
