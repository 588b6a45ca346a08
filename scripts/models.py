"""Compare every family of models with its oracles, and keep what was seen for docs/models.md.

It runs tests/models, where each comparison notes its largest differences, and writes docs/models.json; then
``make docs`` writes the page.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run the tests; where all pass, write the table's numbers."""
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/models", *sys.argv[1:]],
            cwd=ROOT,
            env={**os.environ, "PHLOX_MODEL_TABLE": str(notes)},
        )
        if run.returncode:
            return run.returncode
        seen = [json.loads(line) for line in notes.read_text("utf-8").splitlines()]
    (ROOT / "docs" / "models.json").write_text(json.dumps(collected(seen), indent=1, sort_keys=True) + "\n", "utf-8")
    return 0


def collected(seen: list[dict[str, object]]) -> dict[str, dict[str, object]]:
    """By model, its oracles and tests, and the largest of each difference."""
    table: dict[str, dict[str, object]] = {}
    for note in seen:
        row = table.setdefault(str(note["model"]), {"oracles": [], "tests": []})
        for key, into in (("oracle", "oracles"), ("test", "tests")):
            row[into] = sorted({*row[into], note[key]})  # type: ignore[misc]
        for what, value in note.items():
            if isinstance(value, float):
                row[what] = max(float(f"{value:.1e}"), float(row.get(what, 0.0)))  # type: ignore[arg-type]
    return table


if __name__ == "__main__":
    raise SystemExit(main())
