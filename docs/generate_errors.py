"""Write docs/errors.md, the catalogue of errors, from the table of mistakes that the tests make."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import phlox as px  # noqa: E402
from core.mistakes import SECTIONS, Mistake  # noqa: E402

INTRODUCTION = """\
# Errors

An error of Phlox has four parts: **where** it happened, by the path from the variable that holds the model and by the
layer as its user wrote it; what was **expected**; what it **got**; and the likely **fix**.

    ShapeError: model.layers[1] Dense(5 → 2) expects (..., 5), got float32[7, 4]
      fix: give the layer before 5 outputs, or make this one Dense(4, …)

It reads the same line by line and compiled by `px.jit`. No tracer is left in a model, and a compiled call that fails
leaves every array as it was; only a call that fails while it already runs takes the model with it
([lost-step](#lost-step)). Any other exception that is raised inside a model, from your own code or from JAX, gets the
path as a note ([path-note](#path-note)).

This page is a catalogue: the mistake, why it is one, and the text it gives. It is generated from the table that the
tests run, so the texts are what you see.
"""

WAYS = {
    "both": "",
    "as written": "",
    "line by line": " Line by line only: inside `px.jit` the values are not known.",
    "compiled": " Inside `px.jit`:",
}


def classes() -> list[str]:
    """A table of the classes of errors."""
    rows = ["| class | is also a | says |", "|---|---|---|"]
    for cls in [c for c in vars(px).values() if inspect.isclass(c) and issubclass(c, px.PhloxError)]:
        if cls is not px.PhloxError:
            says = " ".join((cls.__doc__ or "").split())
            rows.append(f"| `px.{cls.__name__}` | `{cls.__mro__[2].__name__}` | {says} |")
    return [
        "## Classes",
        "",
        "All are a `px.PhloxError`, and each is one of Python's too: `except ValueError` catches a wrong shape.",
        "",
        *rows,
        "",
    ]


def entry(mistake: Mistake) -> list[str]:
    """One mistake: its name, why it is one, the program, the text."""
    program = f"{mistake.given}\n\n{mistake.do}" if mistake.given else mistake.do
    return [
        f"### {mistake.code}",
        "",
        mistake.why + WAYS[mistake.ways],
        "",
        "```python",
        program,
        "```",
        "",
        "```text",
        mistake.text,
        "```",
        "",
    ]


def page() -> str:
    """The whole page."""
    lines = [INTRODUCTION, *classes()]
    for title, mistakes in SECTIONS.items():
        links = " · ".join(f"[{m.code}](#{m.code})" for m in mistakes)
        lines += [f"## {title}", "", links, ""]
        for mistake in mistakes:
            lines += entry(mistake)
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "errors.md").write_text(page(), "utf-8")
