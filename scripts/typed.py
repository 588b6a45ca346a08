"""Hold how much of what users see has types that every checker knows: pyright --verifytypes, against a bar.

Run as a script from an environment with pyright; it names each symbol that falls short, and fails below the bar.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parent.parent / "src"
BAR = 0.98


def report() -> dict[str, Any]:
    """What pyright says of the package's public names."""
    pyright = Path(sys.executable).with_name("pyright")
    asked = [pyright, "--pythonpath", sys.executable, "--verifytypes", "phlox", "--ignoreexternal", "--outputjson"]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}  # pyright does not follow an editable install
    told = subprocess.run(asked, capture_output=True, text=True, env=environment)
    try:
        return json.loads(told.stdout)["typeCompleteness"]
    except (ValueError, KeyError):
        sys.exit(f"pyright gave no report:\n{told.stdout}{told.stderr}")


def short(found: dict[str, Any]) -> list[str]:
    """The symbols that fall short, each with the reasons."""
    return [
        f"{symbol['name']}: {' '.join(reason['message'].split())}"
        for symbol in found["symbols"]
        if not symbol["isTypeKnown"]
        for reason in symbol["diagnostics"]
        if reason["severity"] == "error"
    ]


def main() -> int:
    """Do what the module says; return the exit status."""
    found = report()
    share, counts = found["completenessScore"], found["exportedSymbolCounts"]
    for line in short(found):
        print(line)
    print(f"types: {share:.1%} of {sum(counts.values())} public names are known; the bar is {BAR:.0%}")
    return 0 if share >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
