"""Several runs beside each other: what is not the same in them, their numbers, their curves over each other."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phlox.core import RangeError
from phlox.loop.tracking._recorded_run import RecordedRun, read_run
from phlox.loop.tracking.pages._chart import Line, chart
from phlox.loop.tracking.pages._frame import page, section
from phlox.loop.tracking.pages._parts import cell, table
from phlox.weights import replacing

WHERE = "px.loop.compare"
COLOURS = ("#2563b8", "#d9622b", "#2e7d4f", "#8b4fc2", "#b7791f", "#b3372f", "#0f8a8a", "#667085")


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other; printing it gives tables.

    Attributes:
        runs: as they were read.
        names: of the runs; where folders are called the same, with the folder above.
        differences: what is not the same in all runs, by name, a value for each run; None where one does not have it.
        numbers: the last value of every number, and the best one where its name tells which that is, likewise.
    """

    runs: tuple[RecordedRun, ...]
    names: tuple[str, ...]
    differences: dict[str, list[Any]]
    numbers: dict[str, list[Any]]

    def to_html(self, path: str | Path) -> Path:
        """Write it as one HTML page, with the curves over each other; returns the path.

        Raises:
            FileError: the page cannot be written.
        """
        with replacing(path, where=WHERE) as whole:
            whole.write_text(compare_page(self), "utf-8")
        return Path(path)

    def __repr__(self) -> str:
        parts = [("numbers", self.numbers), ("differences", self.differences)]
        return "\n\n".join(_in_text(title, self.names, rows) for title, rows in parts if rows)


def compare(*folders: str | Path) -> Comparison:
    """Lay two runs or more beside each other.

    What differs is looked for in settings, optimiser, callbacks, seeds, data, model, code and environment.

    Arguments:
        folders: each the ``log_dir`` of a ``px.fit``.

    Raises:
        RangeError: fewer than two.
        MissingFileError, CorruptFileError: as ``px.read_run``.
    """
    if len(folders) < 2:
        raise RangeError("two runs or more", got=str(len(folders)), fix="give their folders", where=WHERE)
    runs = tuple(read_run(folder) for folder in folders)
    told = [_told(run.record) for run in runs]
    every = dict.fromkeys(name for one in told for name in one)
    rows = {name: [one.get(name) for one in told] for name in every}
    different = {name: row for name, row in rows.items() if any(value != row[0] for value in row[1:])}
    return Comparison(runs, _names(runs), different, _numbers(runs))


def _names(runs: Sequence[RecordedRun]) -> tuple[str, ...]:
    names = [run.name for run in runs]
    if len(set(names)) == len(names):
        return tuple(names)
    return tuple(f"{run.folder.absolute().parent.name}/{run.name}" for run in runs)


def _told(record: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a run, flat by name; what differs from run to run by itself is left out."""
    code, data = record.get("code", {}), record.get("data", {})
    surroundings = dict(record.get("environment", {}))
    packages = surroundings.pop("packages", {})
    model = record.get("model", {})
    return {
        "status": record.get("status"),
        **{name: value for name, value in record.get("config", {}).items() if name not in ("log_dir", "resume")},
        "optimizer": record.get("optimizer"),
        "callbacks": [text.partition("(path=")[0] for text in record.get("callbacks", [])],
        "seed of the loader": record.get("seeds", {}).get("loader"),
        **{f"{name}: {part}": v for name, found in data.items() for part, v in found.items() if part != "looked_at"},
        "parameters": model.get("parameters"),
        **{f"model {layer['path']}".strip(): layer["layer"] for layer in model.get("layers", [])},
        **{f"code: {name}": value for name, value in code.items()},
        **surroundings,
        **{f"package {name}": version for name, version in packages.items()},
    }


def _numbers(runs: Sequence[RecordedRun]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name in dict.fromkeys(name for run in runs for name in run.numbers):
        found[name] = [run.last(name) if name in run.numbers else None for run in runs]
        best = [run.best(name) if name in run.numbers else None for run in runs]
        if any(best):
            found[f"best {name}"] = [None if one is None else one[1] for one in best]
    seconds = [run.record.get("seconds") for run in runs]
    return found | ({"seconds": seconds} if any(s is not None for s in seconds) else {})


def compare_page(found: Comparison) -> str:
    """The page of a comparison, as HTML."""
    colours = [COLOURS[n % len(COLOURS)] for n in range(len(found.runs))]
    key = "".join(
        f'<span><i style="background:{colour}"></i>{html.escape(name)}</span>'
        for name, colour in zip(found.names, colours, strict=True)
    )
    shown = list(zip(found.runs, found.names, colours, strict=True))
    charts = "".join(
        chart(name, [Line(label, run.numbers[name], colour) for run, label, colour in shown if name in run.numbers])
        for name in dict.fromkeys(name for run in found.runs for name in run.numbers)
    )
    rows = [[name, *row] for name, row in found.differences.items()]
    return page(
        ", ".join(found.names),
        (
            f'<h1>{len(found.runs)} runs</h1>\n<p class="legend">{key}</p>',
            section("Curves", f'<div class="charts">{charts}</div>' if charts else ""),
            section("Numbers", table([[name, *row] for name, row in found.numbers.items()], ("", *found.names), True)),
            section("What is not the same", table(rows, ("", *found.names))),
        ),
    )


_WIDEST = 40  # characters of a value in a terminal


def _in_text(title: str, names: Sequence[str], rows: Mapping[str, Sequence[Any]]) -> str:
    lines = [[title, *names], *[[name, *map(_short, row)] for name, row in rows.items()]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _short(value: Any) -> str:
    text = html.unescape(cell(value))
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
