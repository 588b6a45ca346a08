"""Build the pages into build/site with Sphinx: warnings are errors, a broken link or a page that no index names too.

Further arguments go to Sphinx, ``-E`` for one that reads everything anew.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sphinx.cmd.build import build_main

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "site"
FRONT = """<!doctype html>
<meta charset="utf-8"><meta http-equiv="refresh" content="0; url=docs/index.html"><title>Phlox</title>
"""


def main() -> int:
    """Do what the module says; return the exit status."""
    places = ["-c", str(ROOT / "docs"), "-d", str(ROOT / "build" / "doctrees")]
    shutil.rmtree(SITE, ignore_errors=True)  # of a page that is gone nothing stays
    status = build_main(["-q", "-W", "--keep-going", "-n", *places, *sys.argv[1:], str(ROOT), str(SITE)])
    if status == 0:
        (SITE / "index.html").write_text(FRONT, "utf-8")
        pages = sum(1 for _ in SITE.rglob("*.html")) - 1
        print(f"site: {pages} pages, open {SITE / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
