"""Seed bugs into a copy of the source one by one, and see that the tests catch each: ``run.py [-k name] [--jobs n]``.

First the named tests must pass on the untouched copy, so that a failure is the mutant's doing. Exit code 1
where a mutant survives, breaks the import, or its original text does not occur exactly once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from mutant import ROOT, SOURCE, Mutant, mutants

EACH = "not soak or left"  # every case of a table, also those that a normal run leaves out
FAILED = 1  # pytest's exit code where tests ran and some failed


def run_tests(source: Path, tests: list[str]) -> tuple[int, str]:
    """Run tests on a copy of the source, on one core, stopping at the first failure."""
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=line", "-m", EACH]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return 124, "timed out"
    return done.returncode, done.stdout + done.stderr


def copied(folder: Path) -> Path:
    """A copy of the source below ``folder``, and its parent for PYTHONPATH."""
    shutil.copytree(SOURCE, folder / "phlox", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def tried(mutant: Mutant) -> tuple[Mutant, str, float]:
    """What became of one mutant: killed, SURVIVED or BROKEN."""
    start = time.monotonic()
    if mutant.count() != 1:
        return mutant, f"BROKEN: the original text occurs {mutant.count()} times", 0.0
    with tempfile.TemporaryDirectory() as folder:
        source = copied(Path(folder))
        path = source / "phlox" / mutant.file
        path.write_text(path.read_text("utf-8").replace(mutant.original, mutant.replaced), "utf-8")
        code, output = run_tests(source, list(mutant.tests))
    verdict = "killed" if code == FAILED else "SURVIVED" if code == 0 else f"BROKEN: pytest exit code {code}\n{output}"
    return mutant, verdict, time.monotonic() - start


def main() -> int:
    """Try the chosen mutants and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", default="", help="only mutants whose name or file contains this")
    parser.add_argument("--jobs", type=int, default=1, help="how many to try at once")
    chosen = parser.parse_args()
    wanted = [m for m in mutants() if chosen.k in m.name or chosen.k in m.file]
    todo = [m for m in wanted if m.areas <= {Path(sys.prefix).name.removeprefix(".venv-")}]
    if len(todo) < len(wanted):
        print(f"{len(wanted) - len(todo)} are of areas: .venv-NAME/bin/python {sys.argv[0]} tries them")
    with tempfile.TemporaryDirectory() as folder:
        code, output = run_tests(copied(Path(folder)), sorted({t for m in todo for t in m.tests}))
    if code != 0:
        print(f"the tests do not pass without a mutant\n{output}")
        return 1
    with ThreadPoolExecutor(chosen.jobs) as pool:
        results = []
        for mutant, verdict, seconds in pool.map(tried, todo):
            print(f"{verdict:<9} {seconds:5.1f} s  {mutant.file}: {mutant.name}", flush=True)
            results.append(verdict)
    print(f"{results.count('killed')} of {len(results)} killed")
    return 0 if all(r == "killed" for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
