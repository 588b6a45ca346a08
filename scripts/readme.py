"""Run the blocks of code on a page, as ``readme.py README.md``: each must print what stands below it."""

from __future__ import annotations

import contextlib
import difflib
import io
import re
import sys
from pathlib import Path

BLOCK = re.compile(r"^```python\n(.*?)^```\n```text\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def main() -> int:
    """Do what the module says; return the exit status."""
    text = Path(sys.argv[1]).read_text("utf-8")
    namespace = {"__name__": "__main__"}
    blocks = BLOCK.findall(text)
    if not blocks or len(blocks) != text.count("```python"):
        print(f"{sys.argv[1]}: {text.count('```python')} blocks of code, {len(blocks)} with what they print below")
        return 1
    for code, expected in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            exec(compile(code, sys.argv[1], "exec"), namespace)
        if shown.getvalue() != expected:
            print(*difflib.ndiff(expected.splitlines(), shown.getvalue().splitlines()), sep="\n")
            return 1
    print(f"{sys.argv[1]}: {len(blocks)} blocks print what stands below them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
