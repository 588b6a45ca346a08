"""Write docs/litert.md: what a LiteRT file looks like, what is written otherwise, and what has no form."""

from __future__ import annotations

import runpy
from pathlib import Path

from phlox.interchange.litert import _loops, _operations
from phlox.interchange.litert._refused import COMPLEX, REFUSED

ROOT = Path(__file__).resolve().parent.parent

TEXT = f"""\
# LiteRT files: what stands in them, and what can

LiteRT, the former TensorFlow Lite, runs on phones and small machines. `px.export(…, to="litert")` writes `model.tflite`
without TensorFlow, and tries it in LiteRT's own runtime on this machine; phones were not tried.

- **Sizes are known.** A file is planned ahead for one size of everything. Give numbers, or `sizes={{"batch": (1, 1)}}` where another
  format of the same bundle has symbols; a signature for each size that you need.
- **One file has all signatures**, and equal weights once.
- **Loops.** The rounds of a loop of known length stand one behind the other, up to {_loops.LIMIT} operations in all: an LSTM over 64 steps
  runs four times faster so, in a file nine times as large. A longer one stays a loop, as does one whose end the data decides.
- **16 bits.** The runtime computes with 32: numbers of 16 bits are widened, and rounded after each operation.
- **The converter** is `litert-converter`, in a process of its own: where it breaks off, the error says how, and nothing is left.

Files have the runtime's own operators only, none that needs TensorFlow. An order by `sort` or `argsort` is right for numbers;
where a NaN comes among them is not settled.

## Operations that are written otherwise

The runtime has other signs or ends for these than XLA, takes them in other forms, or does not have them.

"""


def main() -> None:
    """Write the page."""
    wide = [name for name in _operations.RULES if name in _operations.OF_REALS]
    rest = [name for name in _operations.RULES if name not in _operations.OF_REALS]
    made = ", ".join(f"`{name}`" for name in sorted(rest))
    text = f"{made}; scatters keep their way of combining; of 16 bits: {', '.join(f'`{n}`' for n in sorted(wide))}.\n"
    (ROOT / "docs" / "litert.md").write_text(TEXT + text + _refused() + _exceptions(), "utf-8")


def _refused() -> str:
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, why in REFUSED.items():
        reasons.setdefault(why, []).append(name)
    rows = [f"| {what} | {fix} | {' '.join(f'`{n}`' for n in sorted(names))} |" for (what, fix), names in reasons.items()]
    return "\n".join([REFUSALS, *rows, f"| {COMPLEX[0]} | {COMPLEX[1]} | any but `rfft` |"]) + "\n"


def _exceptions() -> str:
    found = runpy.run_path(str(ROOT / "tests" / "interchange" / "litert_exceptions.py"))["EXCEPTIONS"]
    rows = [f"| `{name}` | {why} |" for name, why in found.items()]
    return "\n".join([EXCEPTIONS, *rows]) + "\n"


REFUSALS = """
## Operations that have none

They are refused by an error that names the layer, the operation and what would help, and no file is written. What the converter
itself refuses, or the runtime computes otherwise, is an error too.

| what it is | what would help | operations of JAX |
|---|---|---|"""

EXCEPTIONS = """
## What was tried

Every layer and model of the registry of exports at a known size, within 1e-5 of the model (16 bits within their own precision), but for:

| layer | because |
|---|---|"""

main()
