"""The index names every page once, and examples in the open become blocks of code; `make site` does the rest."""

import re
import runpy
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONF = runpy.run_path(str(ROOT / "docs" / "conf.py"))
INDEX = (ROOT / "docs" / "index.md").read_text("utf-8")


def pages():
    """Every page that the site has, the index left out."""
    found = {path for pattern in CONF["include_patterns"] for path in ROOT.glob(pattern.replace("**.md", "**/*.md"))}
    left_out = CONF["exclude_patterns"]
    folders = {path: path.relative_to(ROOT).parts[0] for path in found}
    return {
        path
        for path in found
        if path != ROOT / "docs" / "index.md" and not any(fnmatch(folders[path], pattern) for pattern in left_out)
    }


def test_the_index_names_every_page_once():
    named = [
        (ROOT / "docs" / target).resolve() for target in re.findall(r"^- \[.+?\]\((\S+?\.md)\): ", INDEX, re.MULTILINE)
    ]
    assert len(named) == len(set(named))
    assert set(named) == pages()


def test_a_page_is_called_what_its_heading_says():
    for title, target in re.findall(r"^- \[(.+?)\]\((\S+?\.md)\): ", INDEX, re.MULTILINE):
        heading = (ROOT / "docs" / target).read_text("utf-8").partition("\n")[0].removeprefix("# ")
        assert heading.lower().startswith(title.lower()), target


def test_each_heading_of_the_index_becomes_a_part_of_the_contents():
    text = CONF["table_of_contents"](INDEX)
    themes = re.findall(r"^## (.+)$", INDEX, re.MULTILINE)
    assert re.findall(r"^:caption: (.+)$", text, re.MULTILINE) == themes
    entries = [
        line for tree in re.findall(r"```\{toctree\}\n.*?\n\n(.*?)\n```", text, re.DOTALL) for line in tree.split("\n")
    ]
    assert len(entries) == len(pages())
    assert {"training", "../README", "design/core"} <= set(entries)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\n\n>>> f()\n1\n\nb", "a\n\n```pycon\n>>> f()\n1\n```\n\nb\n"),
        (">>> f()", "```pycon\n>>> f()\n```\n"),
        (">>> f()\n... g\n```text\nx\n```", "```pycon\n>>> f()\n... g\n```\n```text\nx\n```\n"),
        ("```python\n>>> f()\n```\n", "```python\n>>> f()\n```\n"),
        ("````md\n```\n>>> f()\n````", "````md\n```\n>>> f()\n````\n"),
        ("> a quotation", "> a quotation\n"),
    ],
)
def test_examples_in_the_open_become_blocks_of_code(text, wanted):
    assert CONF["fence_examples"](text) == wanted
