"""Tables of HTML with small pictures in them, which all findings show themselves by."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import NamedTuple

BLUE, ORANGE, GREY = "#3b7dd8", "#c97316", "#7a808a"
_WIDTH, _HEIGHT = 180, 44
_RIGHT = ("", ' class="n"')


class Cell(NamedTuple):
    """Text in a table, or what is HTML already.

    Arguments:
        text: what is shown.
        number: whether it stands to the right.
        markup: whether the text is HTML.
    """

    text: str
    number: bool = False
    markup: bool = False

    def html(self) -> str:
        """The cell."""
        return f"<td{_RIGHT[self.number]}>{self.text if self.markup else html.escape(self.text)}</td>"


class Row(NamedTuple):
    """A row of a table; ``bad`` marks it."""

    cells: Sequence[Cell]
    bad: bool = False


def numbers(texts: Iterable[str]) -> list[Cell]:
    """Cells that stand to the right."""
    return [Cell(text, number=True) for text in texts]


def about(text: str) -> str:
    """A line above a table."""
    return f'<p class="about">{html.escape(text)}</p>'


def table(head: Sequence[str], rows: Sequence[Row]) -> str:
    """Rows below a head."""
    right = [cell.number for cell in rows[0].cells] if rows else [False] * len(head)
    heads = "".join(f"<th{_RIGHT[to]}>{html.escape(name)}</th>" for name, to in zip(head, right, strict=True))
    body = "".join(map(_row, rows))
    return f'<table class="phlox-data"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'


def _row(row: Row) -> str:
    kind = ' class="bad"' if row.bad else ""
    return f"<tr{kind}>{''.join(cell.html() for cell in row.cells)}</tr>"


def bars(series: Sequence[Sequence[float]], names: Sequence[str]) -> Cell:
    """Bars of one or two series in an SVG; each tells its name where a pointer rests on it."""
    count = len(names)
    most = max((value for one in series for value in one), default=0) or 1
    each = _WIDTH / max(count, 1)
    wide = each * 0.9 / len(series)
    drawn = []
    for k, (one, colour) in enumerate(zip(series, (BLUE, ORANGE), strict=False)):
        for i, value in enumerate(one):
            tall = _HEIGHT * value / most
            place = f'x="{i * each + k * wide:.1f}" y="{_HEIGHT - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}"'
            drawn.append(f'<rect {place} fill="{colour}"><title>{html.escape(names[i])}</title></rect>')
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    label = html.escape("; ".join(names)[:300])
    return Cell(f'<svg {size} role="img" aria-label="{label}">{"".join(drawn)}</svg>', markup=True)
