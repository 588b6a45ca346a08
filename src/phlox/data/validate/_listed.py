"""Tables of text, as all findings print them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_NUMERIC = frozenset("0123456789+-−≈<>.%,e…∞ ")


def listed(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows below a head, columns of numbers to the right.

    >>> print(listed(("name", "n"), [("a", "10"), ("bcd", "2")]))
    name   n
    a     10
    bcd    2
    """
    cells = [list(head), *map(list, rows)]
    widths = [max(_width(row[i]) for row in cells) for i in range(len(head))]
    right = [
        bool(rows) and any(r[i] for r in rows) and all(set(r[i]) <= _NUMERIC for r in rows) for i in range(len(head))
    ]
    lines = []
    for row in cells:
        padded = (_padded(text, width, to) for text, width, to in zip(row, widths, right, strict=True))
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _width(text: str) -> int:
    """How wide a terminal shows it."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
