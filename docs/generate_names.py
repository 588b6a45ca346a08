"""Write the package's table of other libraries' names, from the tables of docs/parity and docs/coming_from."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "tests")]

from coming_from import names  # noqa: E402
from parity import flux, lux, torch_functional, torch_nn, torch_optim  # noqa: E402
from parity.rows import AREAS, Row  # noqa: E402

FILE = ROOT / "src" / "phlox" / "core" / "elsewhere" / "_names.py"
TABLES = (names.PYTORCH, names.KERAS, names.FLAX, names.EQUINOX)
SOURCES = (torch_nn.SOURCE, torch_functional.SOURCE, torch_optim.SOURCE, flux.SOURCE, lux.SOURCE)
OBJECTS = ("model", "optimizer", "loss", "opt")  # what follows them is a method, see core/elsewhere/_methods.py

HEAD = '''\
"""Names of other libraries and what one writes here; ``docs/generate_names.py`` makes it of the tables of the docs."""

# ruff: noqa: E501
# fmt: off
from __future__ import annotations

# Names with one answer, then the answer. The first row that has a name is the one that counts.
_ROWS: tuple[tuple[str, str], ...] = (
'''
TAIL = """\
)

NAMES: dict[str, str] = {name: answer for names, answer in reversed(_ROWS) for name in names.split()}
"""


def plain(text: str) -> str:
    """Text of a page without the marks of code."""
    return text.replace("`", "")


def spans(cell: str) -> list[str]:
    """The code spans of a cell of a table."""
    return re.findall(r"`([^`]+)`", cell)


def key(theirs: str) -> str:
    """The name within a code span, ``Conv2d`` of ``nn.Conv2d(in, out, 3)``; empty where it is no name of a module."""
    dotted = re.split(r"[( ]", theirs)[0]
    first, *_, last = ["", *dotted.split(".")] if "." not in dotted else dotted.split(".")
    return last if last.isidentifier() and first not in OBJECTS else ""


def from_page(theirs: str, ours: str, note: str) -> list[tuple[str, str]]:
    """One row of docs/coming-from.md; spans stand beside one another where there are as many of each."""
    old, new = spans(theirs), spans(ours)
    pairs = zip(old, new, strict=True) if len(old) == len(new) else ((o, plain(ours)) for o in old)
    behind = f": {plain(note).removesuffix(': see above')}" if note else ""
    return [(key(o), _write(o, n) + behind) for o, n in pairs if key(o)]


def _write(theirs: str, ours: str) -> str:
    """What to write, beside what it is for where that has arguments."""
    if ours.partition(",")[0] == "nothing":
        return "leave it out"
    return f"write {ours} for {theirs}" if "(" in theirs and "(" in ours else f"write {ours}"


def from_parity(row: Row) -> tuple[str, str]:
    """One row of docs/parity.md."""
    found = [name.rpartition(".")[2] for name in row.names if row.ours or "." not in name]
    found = [name for name in found if name.isidentifier()]
    behind = f": {plain(row.note)}" if row.note else ""
    if row.ours:
        return " ".join(found), f"write {row.ours}{behind}"
    if row.area:
        return " ".join(found), f"not there yet ({row.area}: {AREAS[row.area]})"
    return " ".join(found), f"leave it out: {plain(row.note)}"


def rows() -> list[tuple[str, str]]:
    """All rows, those of docs/coming-from.md first: they have arguments."""
    found = [pair for table in TABLES for row in table for pair in from_page(*row)]
    found += [from_parity(row) for source in SOURCES for row in source.rows]
    seen: set[str] = set()
    result = []
    for theirs, answer in found:
        new = [name for name in theirs.split() if name not in seen]
        seen.update(new)
        if new:
            result.append((" ".join(new), answer))
    return result


def quoted(text: str) -> str:
    """A string in double quotes where it holds none."""
    return repr(text) if '"' in text else f'"{text}"'


def render() -> str:
    """The whole file."""
    lines = [f"    ({quoted(theirs)}, {quoted(answer)})," for theirs, answer in rows()]
    return HEAD + "\n".join(lines) + "\n" + TAIL


if __name__ == "__main__":
    FILE.write_text(render(), "utf-8")
