"""Write docs/coming-from.md: one model and its step in seven forms, what differs, and old names beside new ones."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))

from coming_from import differences, names  # noqa: E402

WEIGHTS = "# --- weights ---"
PROGRAMS = ROOT / "docs" / "coming_from"

INTRODUCTION = """\
# Coming from Flux, PyTorch, Keras, Flax or Equinox

One small model and one step of its training, in Phlox and in what you know. All Python programs are run by the tests:
with the same weights they give the same logits, losses, gradients, weights after three steps of Adam and running
statistics, to rounding. Old names stand beside new ones, and what differs so that it bites has a list of its own.

`x` are images (batch, height, width, channel) and `y` the numbers of their classes, both NumPy arrays.
"""

AFTER_PHLOX = """\
A call is `step(model, opt, x, y)`, and `predict(x)` needs no switch. Weights from elsewhere come as a dict from path to
array; the programs below have a function for it, which says what is turned how. The dropout's random key stays:

```python
px.load_state_dict(model, to_phlox(theirs), strict=False)
```
"""

DEFAULTS = """\
## Defaults side by side

U is uniform, N normal, h the hidden size. Flax is NNX, and Linen alike; losses and rules of Flax and Equinox are
optax's, their activations JAX's. The tests measure every value but Flux's, which are those of its source.
"""

FLAX = """\
This is NNX. The same in Linen, with `variables` passed around, is [flax_linen.py](coming_from/flax_linen.py)."""

# heading, program, language, whether the page shows how its weights move, what to say, names, what to say after them
SECTIONS = (
    ("PyTorch", "pytorch.py", "python", True, "", names.PYTORCH, "torchnn"),
    ("Keras", "keras_side.py", "python", False, "", names.KERAS, ""),
    ("Flax", "flax_nnx.py", "python", False, FLAX, names.FLAX, ""),
    ("Equinox", "equinox_side.py", "python", False, "", names.EQUINOX, ""),
    ("Flux", "flux.jl", "julia", True, "This program is not run by the tests.", names.FLUX, "flux"),
)


def program(name: str) -> tuple[str, str]:
    """The two parts of a program, model with step and weights, without the line that says whose it is."""
    step, _, weights = (PROGRAMS / name).read_text("utf-8").partition(WEIGHTS)
    return step.split("\n\n", 1)[1].strip(), weights.strip()


def fence(code: str, language: str = "python") -> list[str]:
    """A block of code."""
    return [f"```{language}", *code.replace("\n\n\n", "\n\n").splitlines(), "```", ""]


def folded(title: str, code: str, language: str) -> list[str]:
    """A block of code that opens at a click."""
    return [f"<details><summary>{title}</summary>", "", *fence(code, language), "</details>", ""]


def section(title: str, file: str, language: str, whole: bool, text: str, table: names.Table, parity: str) -> list[str]:
    """One framework: its program, how weights come over, its names."""
    step, weights = program(file)
    lines = [f"## From {title}", "", *([text, ""] if text else [])]
    lines += folded(f"The model and its step in {title}", step, language)
    if whole:
        lines += folded(f"Its weights for Phlox ({title})", weights, language)
    else:
        lines += [f"Its weights for Phlox: `to_phlox` in [{file}](coming_from/{file}).", ""]
    lines += [f"| {title} | Phlox | |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in table), ""]
    return lines + ([f"All other names: [parity](parity.md#{parity}).", ""] if parity else [])


def defaults() -> list[str]:
    """The table of defaults."""
    head = ["", *differences.FRAMEWORKS]
    rows = [f"| {what} | {' | '.join(values)} |" for what, values in differences.DEFAULTS.items()]
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *rows, ""]


def claim(text: str) -> str:
    """A claim as an item of a list."""
    return textwrap.fill(
        text, 120, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def page() -> str:
    """The whole page."""
    lines = [INTRODUCTION, "## Phlox", "", *fence(program("phlox_side.py")[0]), AFTER_PHLOX, DEFAULTS, *defaults()]
    lines += ["## Differences that bite", "", *map(claim, differences.CLAIMS.values()), ""]
    for part in SECTIONS:
        lines += section(*part)
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "coming-from.md").write_text(page(), "utf-8")
