"""One run as one page: curves, numbers, confusion, worst examples, the model, and what it ran in."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phlox.loop.logs._plot import TRAINING, VALIDATION
from phlox.loop.tracking._recorded_run import RecordedRun, read_run
from phlox.loop.tracking.pages._chart import Line, chart
from phlox.loop.tracking.pages._frame import page, section
from phlox.loop.tracking.pages._parts import Array, is_picture, matrix, picture, table, tree
from phlox.weights import replacing

_HOLDS = ("learning_rate",)  # numbers that hold until the next one
_FEATURES = 12  # numbers of an example that is no picture
_SHOWN = ("python", "system", "processors", "devices")


def report(folder: str | Path, path: str | Path | None = None, *, classes: Sequence[str] = ()) -> Path:
    """Write a run as one HTML page, which needs no network, no program and no other file; returns its path.

    It has the curves of all numbers, the last and the best of each, confusion matrices, the worst examples where a
    ``px.WorstExamples`` kept them, the model as a tree, settings, data, code and packages. A run that goes on can be
    looked at too.

    Arguments:
        folder: the ``log_dir`` of a ``px.fit``.
        path: the page; by default ``report.html`` in the folder.
        classes: names of the classes, in the order of the model.

    Raises:
        MissingFileError, CorruptFileError: as ``px.read_run``. FileError: the page cannot be written.
    """
    run = read_run(folder)
    path = Path(path) if path is not None else run.folder / "report.html"
    with replacing(path, where="px.loop.report") as whole:
        whole.write_text(report_page(run, classes), "utf-8")
    return path


def report_page(run: RecordedRun, classes: Sequence[str] = ()) -> str:
    """The page of a run, as HTML."""
    parts = (
        head(run),
        section("Curves", curves(run)),
        section("Numbers", table(*numbers(run), numbers=True)),
        *(section(title, matrix(counts, classes)) for title, counts in confusions(run)),
        section("Worst examples", worst(run.examples, classes)),
        section("Model", model(run.record.get("model", {}))),
        section("Settings", table(settings(run.record))),
        section("Data", table(data(run.record), ("", "content", "rows", "digest"))),
        section("Code", table(list(run.record.get("code", {}).items()))),
        section("Environment", surroundings(run.record.get("environment", {}))),
    )
    return page(f"{run.name}, {run.status}", parts)


def head(run: RecordedRun) -> str:
    """The name of a run, how it ended, when, and how long it took."""
    record = run.record
    reason = str(record.get("reason") or "")
    told = [
        str(record.get("started", "")),
        f"{record['seconds']:.1f} s" if "seconds" in record else "",
        f"{record['epochs']} epochs" if "epochs" in record else f"{len(run.epochs)} epochs",
        f"{record['steps']} steps" if "steps" in record else "",
        f"resumed {len(record['resumed'])} times" if record.get("resumed") else "",
        "" if reason == f"{record.get('epochs')} epochs" else reason,
    ]
    badge = f'<span class="badge {html.escape(run.status)}">{html.escape(run.status)}</span>'
    error = f"<p><code>{html.escape(str(record['error']))}</code></p>" if record.get("error") else ""
    under = html.escape(" · ".join(text for text in told if text))
    return f'<h1>{html.escape(run.name)} {badge}</h1>\n<p class="under">{under}</p>{error}'


def curves(run: RecordedRun) -> str:
    """A chart for each number, that of validation in the same one."""
    drawn = []
    for name in dict.fromkeys(name.removeprefix("val_") for name in run.numbers):
        pairs = ((name, "training", TRAINING), (f"val_{name}", "validation", VALIDATION))
        lines = [Line(label, run.numbers[n], colour) for n, label, colour in pairs if n in run.numbers]
        drawn.append(chart(name.replace("_", " "), lines, steps=name in _HOLDS))
    key = "".join(
        f'<span><i style="background:{colour}"></i>{label}</span>'
        for label, colour in (("training", TRAINING), ("validation", VALIDATION))
    )
    return f'<div class="charts">{"".join(drawn)}</div><p class="legend">{key}</p>' if any(drawn) else ""


def numbers(run: RecordedRun) -> tuple[list[list[Any]], list[str]]:
    """The last and the best of every number, as rows and the head of a table."""
    rows = []
    for name in run.numbers:
        best = run.best(name)
        rows.append([name, run.last(name), best and best[1], best and best[0], len(run.numbers[name])])
    return rows, ["", "last", "best", "at step", "logged"]


def confusions(run: RecordedRun) -> list[tuple[str, Array]]:
    """Each matrix of classes by classes under its title: that of validation where there is one."""
    found = {name: a for name, a in run.arrays.items() if "confusion" in name.lower() and a.ndim == 2}
    square = {name: a for name, a in found.items() if a.shape[0] == a.shape[1] > 1}
    return [(name.replace("_", " "), a) for name, a in square.items() if f"val_{name}" not in square]


def worst(examples: Mapping[str, Array], classes: Sequence[str]) -> str:
    """The worst examples, as pictures where they are pictures, with what they are and what was said."""
    losses, x = examples.get("loss"), examples.get("x")
    if losses is None or not len(losses):
        return ""
    if x is not None and is_picture(x):
        figures = (
            f'<figure><img alt="row {row}" src="{picture(image)}"><figcaption>{html.escape(told)}</figcaption></figure>'
            for image, row, told in zip(x, examples["row"], _captions(examples, classes), strict=True)
        )
        return f'<div class="examples">{"".join(figures)}</div>'
    rows = [[told, *_features(x, n)] for n, told in enumerate(_captions(examples, classes))]
    return table(rows)


def _features(x: Array | None, n: int) -> list[float]:
    return [] if x is None else [float(v) for v in np.ravel(x[n])[:_FEATURES]]


def _captions(examples: Mapping[str, Array], classes: Sequence[str]) -> list[str]:
    """What is known of each example in words."""
    found = []
    for n, (loss, row) in enumerate(zip(examples["loss"], examples["row"], strict=True)):
        parts = [f"row {row}", f"loss {loss:.4g}"]
        if "target" in examples:
            parts.append(f"is {_answer(examples['target'][n], classes)}")
        if "prediction" in examples:
            parts.append(f"was taken for {_answer(examples['prediction'][n], classes)}")
        found.append(", ".join(parts))
    return found


def _answer(value: Array, classes: Sequence[str]) -> str:
    """A class by its name: a number by itself, or the largest of scores; other arrays by their first numbers."""
    value = np.asarray(value)
    if value.ndim == 0 and value.dtype.kind in "iu":
        return classes[int(value)] if int(value) < len(classes) else str(int(value))
    if value.ndim == 1 and len(value) > 1:
        return _answer(np.asarray(int(value.argmax())), classes)
    return ", ".join(f"{v:.4g}" for v in np.ravel(value)[:4])


def model(record: Mapping[str, Any]) -> str:
    """The layers as a tree, under how many parameters they have."""
    if not record:
        return ""
    return f'<p class="under">{record["parameters"]:,} parameters</p>{tree(record["layers"])}'


def settings(record: Mapping[str, Any]) -> list[list[Any]]:
    """What was asked for: settings that say something, the optimiser, callbacks, seeds."""
    rows = [[name, value] for name, value in record.get("config", {}).items() if value not in (None, False)]
    rows += [["optimizer", record["optimizer"]]] if "optimizer" in record else []
    rows += [["callback", text] for text in record.get("callbacks", [])]
    return rows + [[f"seed of {name}", seed] for name, seed in record.get("seeds", {}).items() if seed is not None]


def data(record: Mapping[str, Any]) -> list[list[Any]]:
    """What the data was: its arrays, rows, and a digest that tells other data apart."""
    return [
        [name, found["content"], found["rows"], found["digest"][:16] or "not looked at"]
        for name, found in record.get("data", {}).items()
    ]


def surroundings(record: Mapping[str, Any]) -> str:
    """Where it ran; packages behind a line that opens."""
    if not record:
        return ""
    rows = [[name, record[name]] for name in _SHOWN if name in record] + list(map(list, record["variables"].items()))
    packages = table(list(map(list, record["packages"].items())))
    return f"{table(rows)}<details><summary>{len(record['packages'])} packages</summary>{packages}</details>"
