"""Run the tests of an area, ``tests/areas/NAME``, in an environment of its own; without a name, list the areas.

An area holds what cannot share the tests' environment, or is too heavy for it. A run that passes is written, dated,
into docs/areas.md, with a digest of the area's packages and tests: a test of the suite asks for a new run where these
have changed since. Arguments behind the name go to pytest, and such a run is not written down.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "areas.md"


@dataclass(frozen=True)
class Area:
    """A folder of tests and the packages that they need."""

    name: str

    @property
    def tests(self) -> Path:
        return ROOT / "tests" / "areas" / self.name

    @property
    def wanted(self) -> Path:
        return ROOT / "requirements" / "areas" / f"{self.name}.in"

    @property
    def lock(self) -> Path:
        return self.wanted.with_suffix(".txt")

    @property
    def purpose(self) -> str:
        """The comment that its packages open with."""
        return self.wanted.read_text("utf-8").splitlines()[0].lstrip("# ")

    @property
    def beside(self) -> str:
        """What is installed beside its lock: names and versions, as ``requirements/unlocked`` has them."""
        rows = (ROOT / "requirements" / "unlocked").read_text("utf-8").splitlines()
        return next((row.partition(" ")[2].strip() for row in rows if row.startswith(f"{self.name} ")), "")

    @property
    def peer(self) -> str:
        """The package that it is there for, the first, as it is locked, and what is installed beside the lock."""
        first = next(line for line in self.wanted.read_text("utf-8").splitlines() if line and line[0] != "#")
        name = re.split(r"[^\w.-]", first)[0]
        version = re.search(rf"^{re.escape(name)}==(\S+)", self.lock.read_text("utf-8"), re.MULTILINE)
        first = f"{name} {version.group(1) if version else ''}".strip()
        return ", ".join([first, *(one.replace("==", " ") for one in self.beside.split()), *self.of_npm])

    @property
    def of_npm(self) -> list[str]:
        """The packages that its tests have npm install, and their versions."""
        wanted = self.tests / "package.json"
        packages = json.loads(wanted.read_text("utf-8"))["dependencies"] if wanted.exists() else {}
        return [f"{name} {version}" for name, version in packages.items()]

    def digest(self) -> str:
        """What tells that its packages or its tests have changed."""
        found = hashlib.sha256(self.lock.read_bytes() + self.beside.encode())
        for path in sorted(path for path in self.tests.rglob("*") if path.suffix in (".py", ".json")):
            found.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
        return found.hexdigest()[:12]


def areas() -> list[Area]:
    """All areas, by name."""
    return [Area(path.stem) for path in sorted((ROOT / "requirements" / "areas").glob("*.in"))]


def run(area: Area, arguments: list[str]) -> int:
    """Install what it needs, run its tests, and write down a whole run that passes; return the exit status."""
    venv = f".venv-{area.name}"
    installed = subprocess.run(["scripts/install", venv, area.name], cwd=ROOT)
    if installed.returncode:
        return installed.returncode
    command = ["scripts/test", f"tests/areas/{area.name}", *arguments]
    tests = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "VENV": venv}, stdout=subprocess.PIPE, text=True)
    assert tests.stdout is not None
    last = ""
    for line in tests.stdout:
        print(line, end="", flush=True)
        last = line.strip() or last
    if tests.wait() == 0 and not arguments:
        write(area, last)
    return tests.returncode


def write(area: Area, result: str) -> None:
    """Enter the result of a run into the page."""
    result = re.sub(r" in [\d.]+s.*", "", result.strip("= "))
    row = f"| {area.name} | {datetime.date.today()} | {area.peer} | {result} | `{area.digest()}` |"
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if not line.startswith(f"| {area.name} |")]
    head = next(i for i, line in enumerate(lines) if line.startswith("|---"))
    table = sorted([*lines[head + 1 :], row])
    PAGE.write_text("\n".join([*lines[: head + 1], *table]) + "\n", "utf-8")


def main() -> int:
    """Do what the module says; return the exit status."""
    name, *arguments = [argument for argument in sys.argv[1:] if argument] or [""]
    known = {area.name: area for area in areas()}
    if name in known:
        return run(known[name], arguments)
    if name:
        print(f"there is no area {name}")
    print("areas, each with an environment of its own: make test-area AREA=name")
    for area in known.values():
        print(f"  {area.name:<14} {area.purpose}")
    return 1 if name else 0


if __name__ == "__main__":
    sys.exit(main())
