"""Sphinx reads the pages of the whole repository as they stand; docs/index.md, itself a page, says in which order."""

from __future__ import annotations

import re
from typing import Any

project = "Phlox"
author = "the Phlox developers"
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # links such as page.md#a-heading
root_doc = "docs/index"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "*/README.md", "docs/**.md"]
exclude_patterns = [".*", "build", "dist", "runs", "src", "tests"]
html_theme = "furo"
html_title = "Phlox"
html_copy_source = False
html_show_sphinx = False

_THEME = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_PAGE = re.compile(r"^- \[[^]]+\]\(([^)#]+)\.md\)", re.MULTILINE)


def table_of_contents(text: str) -> str:
    """The index for Sphinx: the pages that stand below each heading, as they are listed there."""
    trees = []
    for title, body in _THEME.findall(text):
        pages = "\n".join(_PAGE.findall(body))
        trees.append(f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{pages}\n```")
    return text + "\n\n" + "\n\n".join(trees) + "\n"


def fence_examples(text: str) -> str:
    """Doctests that stand in the open as blocks of code: Markdown would take ``>>>`` for quotations."""
    lines: list[str] = []
    inside, open_ = "", False  # the fence that is open on the page, and whether one of ours is
    for line in text.splitlines():
        fence = re.match(r" *(```+|~~~+)", line)
        if open_ and (fence or not line.strip()):
            lines.append("```")
            open_ = False
        if fence:
            inside = "" if inside == fence.group(1) else inside or fence.group(1)
        elif not inside and not open_ and line.startswith(">>> "):
            lines.append("```pycon")
            open_ = True
        lines.append(line)
    return "\n".join([*lines, *["```"] * open_]) + "\n"


def _source_read(app: Any, name: str, source: list[str]) -> None:
    text = fence_examples(source[0])
    source[0] = table_of_contents(text) if name == root_doc else text


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("source-read", _source_read)
