"""Write docs/litert.md: what a LiteRT file looks like, what is written otherwise, and what has no form."""

from __future__ import annotations

import runpy
from collections.abc import Iterable
from pathlib import Path

from phlox.interchange.litert import _complex, _loops, _operations, _quantized, _unsigned
from phlox.interchange.litert._refused import COMPLEX, REFUSED

ROOT = Path(__file__).resolve().parent.parent

TEXT = f"""\
# LiteRT files: what stands in them, and what can

LiteRT, the former TensorFlow Lite, runs on phones and small machines. `px.export(…, to="litert")` writes `model.tflite`
without TensorFlow, and tries it in LiteRT's own runtime on this machine; phones were not tried.

- **Sizes are known.** A file is planned ahead for one size of everything. Give numbers, or `sizes={{"batch": (1, 1)}}`
  where another format of the same bundle has symbols; a signature for each size that you need.
- **One file has all signatures**, and equal weights once.
- **Loops.** The rounds of a loop of known length stand one behind the other, up to {_loops.LIMIT:,} operations in all:
  an LSTM over 64 steps runs four times faster so, in a file nine times as large. A longer one stays a loop, as does
  one whose end the data decides.
- **16 bits.** The runtime computes with 32: numbers of 16 bits are widened, and rounded after each operation.
- **Integers.** Weights that `px.compress` made integers are integers of the file, with scales of their own;
  where what comes in is rounded, too, and what comes out of a map or convolution goes nowhere but to the next rounding,
  the runtime multiplies integers. [Smaller models](compress.md) has which and how.
- **The converter** is `litert-converter`, in a process of its own: where it breaks off, the error says how, and nothing
  is left.

Files have the runtime's own operators only, none that needs TensorFlow. What they compute is right for numbers. With
NaN and infinities the runtime is careless: its `exp` of NaN is 0, its `log` of infinity 88, its `rsqrt` of 0 NaN, the
sine of 1e30 NaN; where a NaN comes in an order by `sort` or `argsort` is not settled. A mask of `-inf` before a softmax
is right.

## Operations that are written otherwise

Loops become functions of their own, and scatters keep their way of combining; and

| how | operations of JAX |
|---|---|
"""


def main() -> None:
    """Write the page."""
    wide, held = _operations.OF_REALS, _complex.RULES
    rest = [name for name in _operations.RULES if name not in wide]
    rows = [
        f"| other signs, other forms, or none in the runtime | {_listed(rest)} |",
        f"| of whole numbers without sign, by those with one | {_listed(_unsigned.RULES)} |",
        f"| of integers that stand for weights, and of rounding to them | {_listed(_quantized.RULES)} |",
        f"| of complex arrays, as two real ones | {_listed(held)} |",
        f"| of 16 bits, as of 32 | {_listed(wide)} |",
    ]
    text = TEXT + "\n".join(rows) + "\n" + _refused() + _exceptions()
    (ROOT / "docs" / "litert.md").write_text(text, "utf-8")


def _listed(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in sorted(names))


def _refused() -> str:
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, why in REFUSED.items():
        reasons.setdefault(why, []).append(name)
    rows = [f"| {what} | {fix} | {_listed(names)} |" for (what, fix), names in reasons.items()]
    return "\n".join([REFUSALS, *rows, f"| {COMPLEX[0]} | {COMPLEX[1]} | all others of complex arrays |"]) + "\n"


def _exceptions() -> str:
    found = runpy.run_path(str(ROOT / "tests" / "areas" / "litert" / "exceptions.py"))["EXCEPTIONS"]
    rows = [f"- `{name}`: {why}" for name, why in found.items()]
    return "\n".join([EXCEPTIONS, *(["It has no form for", "", *rows] if rows else ["None is left out."])]) + "\n"


REFUSALS = """
## Operations that have none

They are refused by an error that names the layer, the operation and what would help, and no file is written. What the
converter itself refuses, or the runtime computes otherwise, is an error too.

| what it is | what would help | operations of JAX |
|---|---|---|"""

EXCEPTIONS = """
## What was tried

Every layer and model of the registry of exports at a known size, within 1e-5 of the model; of 16 bits, within their own
precision."""

main()
