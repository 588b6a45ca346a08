"""Write docs/parity.md: the names of PyTorch, Flux and Lux, ours beside them, and what each is tested against."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "tests")]

from parity import flux, lux, torch_functional, torch_nn, torch_optim  # noqa: E402
from parity.evidence import EVIDENCE  # noqa: E402
from parity.rows import AREAS, Row, Section, Source  # noqa: E402

from kit import TOLERANCE  # noqa: E402

SOURCES: tuple[Source, ...] = (
    *(torch_nn.SOURCE, torch_functional.SOURCE, torch_optim.SOURCE),
    *(flux.SOURCE, lux.SOURCE),
)

INTRODUCTION = """\
# Parity: whose name is what here

Every public name of `torch.nn`, `torch.nn.functional` and `torch.optim`, and of Flux and Lux, with the Phlox name that
stands for it, what differs, and what the Phlox name is tested against: which file below `tests/`, whose answer, how
closely. A name without one is *not yet* there, where the roadmap brings it, or *absent, because* of what the row says.

The page is generated, and a test holds it to the code: every Phlox name resolves, every test file uses the name it is
listed for, and a name that PyTorch adds or removes fails the test until the table has it.
"""

CLOSELY = """\
The last column gives the relative tolerance of values, which tells the dtype; two stand for two dtypes. The absolute
one, and those of gradients, which are compared wherever there are any, come with it:"""

CONTRACT = """\
A random function has no value to compare: *statistics* are a rate or a distribution, refused where only a rare draw
would look so. All layers of the registry are also held to one contract: line by line equals compiled, gradients equal
differences, half precision rounds the wide result."""

HEAD = ["| theirs | Phlox | note | tested in | against | within |", "|---|---|---|---|---|---|"]


def plain(number: float) -> str:
    """A number as 1e-5 is written, not 1e-05."""
    mantissa, _, exponent = f"{number:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def within(tolerance: str) -> str:
    """A tolerance for reading: the relative one of a dtype's values, or the words given."""
    dtype, _, scale = tolerance.partition("×")
    if dtype not in TOLERANCE:
        return tolerance
    return plain(TOLERANCE[dtype]["value"][0] * float(scale or 1))


def tolerances() -> list[str]:
    """What stands behind the last column."""
    rows = ["| dtype | values: relative, absolute | gradients: relative, absolute |", "|---|---|---|"]
    used = {t.partition("×")[0] for evidence in EVIDENCE.values() for t in evidence.tolerance}
    for dtype in [d for d in TOLERANCE if d in used]:
        value, grad = (", ".join(map(plain, TOLERANCE[dtype][kind])) for kind in ("value", "grad"))
        rows.append(f"| {dtype} | {value} | {grad} |")
    return [
        "## How closely",
        "",
        CLOSELY,
        "",
        *rows,
        "",
        CONTRACT,
        "",
    ]


def counted(rows: list[Row]) -> str:
    """How many names there are, and what became of them."""
    count = Counter[str]()
    for row in rows:
        count[row.status] += len(row.names)
    return f"{count.total()} names: {count['present']} present, {count['not yet']} not yet, {count['absent']} absent"


def summary() -> list[str]:
    """The counts of every source, and what "not yet" waits for."""
    lines = [f"- [{s.title}](#{anchor(s.title)}): {counted(s.rows)}" for s in SOURCES]
    lines += [f"- together {counted([row for s in SOURCES for row in s.rows])}", ""]
    waiting = Counter[str]()
    for row in (row for s in SOURCES for row in s.rows if row.area):
        waiting[row.area] += len(row.names)
    if waiting:
        lines += ["What is not yet there waits for:", "", "| area | names | which is |", "|---|---|---|"]
        lines += [f"| {area} | {waiting[area]} | {AREAS[area]} |" for area in AREAS if waiting[area]] + [""]
    return lines


def anchor(title: str) -> str:
    """The fragment that a heading gets: dots go, spaces are hyphens."""
    return title.lower().replace(".", "").replace(" ", "-")


def line(row: Row) -> str:
    """One line of a table."""
    theirs = " ".join(f"`{name}`" for name in row.names)
    if row.status == "absent":
        return f"| {theirs} | | absent, because {row.note} | | | |"
    if row.status == "not yet":
        return f"| {theirs} | | not yet: {row.area}{'; ' + row.note if row.note else ''} | | | |"
    evidence = EVIDENCE[row.path]
    file = f"[{evidence.file}](../tests/{evidence.file})"
    close = ", ".join(within(t) for t in evidence.tolerance)
    return f"| {theirs} | `{row.ours}` | {row.note} | {file} | {evidence.against} | {close} |"


def section(part: Section) -> list[str]:
    """A section: its differences, then its rows."""
    bites = ["Differences that bite:", "", *(f"- {text}" for text in part.bites), ""] if part.bites else []
    return [f"### {part.title}", "", *bites, *HEAD, *map(line, part.rows), ""]


def page() -> str:
    """The whole page."""
    lines = [INTRODUCTION, *summary(), *tolerances()]
    for source in SOURCES:
        lines += [f"## {source.title}", "", f"{source.intro} {counted(source.rows)}.", ""]
        for part in source.sections:
            lines += section(part)
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "parity.md").write_text(page(), "utf-8")
