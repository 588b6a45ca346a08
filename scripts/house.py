"""Draw the house: docs/design/house.md from the source, and hold what it promises.

Run as a script from the root it rewrites the page. With --check it writes nothing and fails where the page is out of
date, where files import each other in a circle (imports for type checkers and late ones included), where a room is
crowded, where a floor reaches behind the face of another, or where a map names other files than stand there.
"""

from __future__ import annotations

import argparse
import ast
import re
import statistics
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "phlox"
PAGE = ROOT / "docs" / "design" / "house.md"
OPEN = "phlox.core._compat"  # private JAX, gathered in one file, is every floor's
CROWDED = 22  # files side by side in one folder

HEAD = """# The house

Between floors imports run downward only: a folder knows the floors below it, and nothing above or beside it. Its
`__init__.py` is its one public face, and the files inside are private. The rooms within a folder have no faces of their
own, only maps, and may build on each other; no two files import each other in a circle, late imports and those for type
checkers included. `make lint` holds floors, faces, circles, maps and this page, which `scripts/house.py` draws from the
source.
"""


@dataclass(frozen=True)
class File:
    """One source file: its dotted name, its tree, its lines."""

    path: Path

    @cached_property
    def name(self) -> str:
        parts = self.path.relative_to(SOURCE.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def imports(self) -> Iterator[str]:
        """Dotted names of everything it imports, wherever the statement stands."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
                yield node.module

    def functions(self) -> Iterator[int]:
        """The lines of each function, without its docstring."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                doc = node.body[0] if ast.get_docstring(node) else None
                spared = 0 if doc is None or doc.end_lineno is None else doc.end_lineno - doc.lineno + 1
                yield node.end_lineno - node.lineno + 1 - spared


@dataclass(frozen=True)
class Room:
    """A folder of source files, and of further rooms."""

    path: Path

    @cached_property
    def files(self) -> list[File]:
        return [File(path) for path in sorted(self.path.glob("*.py")) if path.name != "__init__.py"]

    @cached_property
    def name(self) -> str:
        return str(self.path.relative_to(SOURCE))

    @cached_property
    def map(self) -> str:
        """What its ``__init__.py`` opens with."""
        return ast.get_docstring(File(self.path / "__init__.py").tree) or ""

    @cached_property
    def purpose(self) -> str:
        """The first sentence of its map."""
        return " ".join(self.map.split("\n\n")[0].split()).rstrip(".:")

    def unmapped(self) -> list[str]:
        """Files and rooms that its map does not name, and names on it that stand for nothing."""
        there = {file.path.stem for file in self.files} | {f"{p.parent.name}/" for p in self.path.glob("*/__init__.py")}
        heads = re.findall(r"^((?:_\w+|\w+/)(?: (?:_\w+|\w+/))*)(?=  +\S)", self.map, re.MULTILINE)
        return sorted(there ^ {name for head in heads for name in head.split()})


def rooms() -> list[Room]:
    """Every folder of the package, the package itself left out."""
    return [Room(path.parent) for path in sorted(SOURCE.rglob("__init__.py")) if path.parent != SOURCE]


def circles(files: list[File]) -> list[list[str]]:
    """Groups of files that import each other: the strongly connected components (Tarjan, 1972) of more than one."""
    named = {file.name: file for file in files}
    edges = {name: {i for i in file.imports() if i in named and i != name} for name, file in named.items()}
    for name, below in edges.items():  # a file's import from its own folder's face is not one of the face itself
        edges[name] = {other for other in below if not name.startswith(other + ".")}
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        path.append(name)
        for other in sorted(edges[name]):
            if other not in number:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in path:
                low[name] = min(low[name], number[other])
        if low[name] == number[name]:
            group = path[path.index(name) :]
            del path[path.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(edges):
        if name not in number:
            visit(name)
    return found


def intrusions(file: File) -> list[str]:
    """What a file imports of another floor past its face: private files, private names."""
    floor = file.name.split(".")[1:2]
    return [
        name
        for name in file.imports()
        if name.startswith("phlox.")
        and name.split(".")[1:2] != floor
        and any(part.startswith("_") and not part.startswith("__") for part in name.split(".")[2:])
        and not name.startswith(OPEN)
    ]


def layers() -> list[str]:
    """The layers of the house from above, as the contract in pyproject.toml names them."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        contracts = tomllib.load(stream)["tool"]["importlinter"]["contracts"]
    return next(contract["layers"] for contract in contracts if contract["type"] == "layers" and "layers" in contract)


def page() -> str:
    """The text of the page."""
    standing = {path.name for path in SOURCE.iterdir() if path.is_dir()}
    lines = [HEAD, "## Floors", "", "A name in brackets is a room to come.", "", "```text"]
    for layer in layers():
        names = [name.strip("() ") for name in layer.split("|")]
        lines.append("   ".join(name if name in standing else f"[{name}]" for name in names))
    lines += ["jax   optax   numpy", "```", "", "## Rooms", "", "| room | what is in it | files |", "|---|---|---:|"]
    lines += [f"| `{room.name}/` | {room.purpose} | {len(room.files)} |" for room in rooms()]
    return "\n".join(lines) + "\n"


def figures(files: list[File]) -> str:
    """What the commit message of a change to the house wants to know."""
    lengths = sorted(length for file in files for length in file.functions())
    fullest = max(rooms(), key=lambda room: len(room.files))
    return (
        f"house: {len(files)} files in {len(rooms())} rooms, the fullest {fullest.name} with {len(fullest.files)}; "
        f"functions: median {statistics.median(lengths):.0f} lines, longest {lengths[-1]}"
    )


def faults(files: list[File]) -> list[str]:
    """What the house does not hold of its promises."""
    found = [f"files import each other in a circle: {', '.join(group)}" for group in circles(files)]
    found += [f"{file.name} imports {name}: go by that floor's face" for file in files for name in intrusions(file)]
    for room in rooms():
        if len(room.files) > CROWDED:
            found.append(f"{room.name}/ holds {len(room.files)} files, {CROWDED} at most: give a family its own folder")
        found += [f"{room.name}/__init__.py: its map and its files differ in {name}" for name in room.unmapped()]
    return found


def main() -> int:
    """Do what the module says; return the exit status."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--check", action="store_true", help="write nothing, and fail where something does not hold")
    check = arguments.parse_args().check
    files = [File(path) for path in sorted(SOURCE.rglob("*.py"))]
    problems = faults(files)
    if not check:
        PAGE.write_text(page(), "utf-8")
    elif not PAGE.exists() or PAGE.read_text("utf-8") != page():
        problems.append(f"{PAGE.relative_to(ROOT)} is out of date: run scripts/house.py")
    for problem in problems:
        print(problem)
    print(figures(files))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
