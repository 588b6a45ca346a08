"""Findings as HTML: tables with small pictures, in one page that needs nothing else."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from phlox.core import StructureError, describe
from phlox.data.validate._column import ColumnStatistics, iso, printable, shown

if TYPE_CHECKING:
    from phlox.data.validate._drift import Drift, Moved
    from phlox.data.validate._report import Report
    from phlox.data.validate._schema import Schema
    from phlox.data.validate._statistics import Statistics

_BLUE, _ORANGE, _GREY = "#3b7dd8", "#c97316", "#7a808a"
_WIDTH, _HEIGHT = 180, 44
_STYLE = f"""
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
.phlox-data {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
.phlox-data th {{ text-align: left; font-weight: 600; color: {_GREY}; position: sticky; top: 0; background: Canvas; }}
.phlox-data th, .phlox-data td {{ padding: 4px 12px 4px 0; border-bottom: 1px solid #7a808a33; }}
.phlox-data td {{ vertical-align: middle; }}
.phlox-data td.n {{ text-align: right; }} .phlox-data tr.bad td:first-child {{ color: {_ORANGE}; font-weight: 600; }}
.phlox-data td.wrap {{ max-width: 22rem; overflow-wrap: anywhere; }}
.phlox-data svg {{ display: block; }} p.about {{ color: {_GREY}; }}
"""


def write_page(path: str | os.PathLike[str], *findings: Any, title: str = "Data") -> None:
    """Write statistics, schemas, reports and drifts as one page of HTML, which needs no network and no other file.

    Arguments:
        path: the file.
        findings: what functions of ``px.data.validate`` gave, in the order in which they are shown.
        title: of the page.

    Raises:
        StructureError: no finding, or something else. FileError: the file cannot be written.

    >>> import pathlib, tempfile, numpy as np, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     px.data.validate.write_page(f"{folder}/data.html", px.data.validate.statistics(np.eye(3)), title="Eye")
    ...     pathlib.Path(folder, "data.html").read_text("utf-8").count("<svg")
    3
    """
    from phlox.weights import replacing

    where = "write_page"
    if not findings:
        fix = "give px.data.validate.statistics(data)"
        raise StructureError("something to show", got="nothing", fix=fix, where=where)
    parts = "".join(_part(finding, where) for finding in findings)
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    text = (
        f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{html.escape(title)}</h1>{parts}</body></html>\n'
    )
    with replacing(path, where=where) as beside:
        beside.write_text(text, "utf-8")


def _part(finding: Any, where: str) -> str:
    from phlox.data.validate._drift import Drift
    from phlox.data.validate._report import Report
    from phlox.data.validate._schema import Schema
    from phlox.data.validate._statistics import Statistics

    if isinstance(finding, Statistics):
        return f"<h2>What is in it</h2>{statistics_html(finding)}"
    if isinstance(finding, Schema):
        return f"<h2>What is expected</h2>{schema_html(finding)}"
    if isinstance(finding, Report):
        return f"<h2>What is against the schema</h2>{report_html(finding)}"
    if isinstance(finding, Drift):
        return f"<h2>What has drifted</h2>{drift_html(finding)}"
    fix = "give what statistics, schema, Schema.check or drift gave"
    raise StructureError("findings of px.data.validate", got=describe(finding), fix=fix, where=where)


def statistics_html(found: Statistics) -> str:
    """A row for each column, with its histogram, or with the values that came most often."""
    head = ("column", "kind", "missing", "distinct", "", "mean", "std", "low", "median", "high", "notes")
    rows = []
    for column in found.columns.values():
        name, kind, missing, distinct, *numbers, notes = column.cells()
        picture = _bars(column) if column.rows > column.missing else ""
        cells = [*map(_cell, (name, kind)), *map(_number, (missing, distinct)), f"<td>{picture}</td>"]
        rows.append(("", [*cells, *map(_number, numbers), _cell(notes, "wrap")]))
    about = "" if found.exact else "about "
    return _about(f"{found.rows:,} rows, {about}{found.repeated:,} of them repeated") + _table(head, rows)


def schema_html(schema: Schema) -> str:
    """A row for each column."""
    rows = [("", [_cell(printable(c[0])), *map(_cell, c[1:3]), _cell(c[3], "wrap"), _cell(c[4])]) for c in
            (column.cells() for column in schema)]  # fmt: skip
    return _table(("column", "kind", "missing", "expected", ""), rows)


def report_html(report: Report) -> str:
    """A row for each problem."""
    if report.ok:
        return _about(f"Nothing, in {report.rows:,} rows.")
    rows = []
    for problem in report.problems:
        column, row, rule, expected, got, count = problem.cells()
        cells = [_cell(column), _number(row), _cell(rule), _cell(expected, "wrap"), _cell(got, "wrap"), _number(count)]
        rows.append(("bad", cells))
    return _about(f"{report.rows:,} rows") + _table(("column", "first row", "rule", "expected", "got", "rows"), rows)


def drift_html(drift: Drift) -> str:
    """A row for each column, with its shares in both sets of data beside each other."""
    rows = []
    for one in drift.columns:
        name, kind, test, *numbers, verdict = one.cells()
        cells = [_cell(name), _cell(kind), f"<td>{_pairs(one)}</td>", _cell(test), *map(_number, numbers)]
        rows.append(("bad" if one.drifted else "", [*cells, _cell(verdict)]))
    keys = f'<b style="color:{_BLUE}">reference</b> {drift.rows[0]:,} rows, <b style="color:{_ORANGE}">current</b> '
    told = f"{drift.rows[1]:,} rows; {len(drift.drifted)} of {len(drift.columns)} columns drifted"
    return f'<p class="about">{keys}{told}</p>' + _table(
        ("column", "kind", "", "test", "statistic", "p", "PSI", "JS", ""), rows
    )


def _about(text: str) -> str:
    return f'<p class="about">{html.escape(text)}</p>'


def _table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(f'<tr class="{kind}">{"".join(cells)}</tr>' for kind, cells in rows)
    return f'<table class="phlox-data"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'


def _cell(text: str, kind: str = "") -> str:
    return f'<td class="{kind}">{html.escape(text)}</td>' if kind else f"<td>{html.escape(text)}</td>"


def _number(text: str) -> str:
    return _cell(text, "n")


# --- pictures ---------------------------------------------------------------------------------------


def _bars(column: ColumnStatistics) -> str:
    """The histogram of numbers, or how often each of the commonest values came."""
    if column.kind in ("text", "boolean", "mixed", "other") and column.common:
        several = column.common[:12]
        return _drawn([[count for _, count in several]], [f"{value}: {count}" for value, count in several])
    told = [_edge(edge, column) for edge in column.edges]
    names = [f"{low} … {high}: {n}" for low, high, n in zip(told, told[1:], column.histogram, strict=False)]
    return _drawn([list(column.histogram)], names)


def _edge(edge: float, column: ColumnStatistics) -> str:
    return iso(edge) if column.kind == "date" else shown(edge, column.kind)


def _pairs(moved: Moved) -> str:
    """The shares of both sets of data, side by side in each bin; of many classes those that moved most."""
    before, after = moved.shares
    order = sorted(range(len(before)), key=lambda i: -abs(before[i] - after[i]))[:16]
    kept = sorted(order)
    names = [f"{moved.bins[i]}: {before[i]:.1%}, {after[i]:.1%}" for i in kept]
    return _drawn([[before[i] for i in kept], [after[i] for i in kept]], names) if kept else ""


def _drawn(series: Sequence[Sequence[float]], names: Sequence[str]) -> str:
    """Bars of one or two series in an SVG; each tells its name where a pointer rests on it."""
    count = len(names)
    most = max((value for one in series for value in one), default=0) or 1
    each = _WIDTH / max(count, 1)
    wide = each * 0.9 / len(series)
    bars = []
    for k, (one, colour) in enumerate(zip(series, (_BLUE, _ORANGE), strict=False)):
        for i, value in enumerate(one):
            tall = _HEIGHT * value / most
            place = f'x="{i * each + k * wide:.1f}" y="{_HEIGHT - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}"'
            bars.append(f'<rect {place} fill="{colour}"><title>{html.escape(names[i])}</title></rect>')
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return f'<svg {size} role="img" aria-label="{html.escape("; ".join(names)[:300])}">{"".join(bars)}</svg>'
