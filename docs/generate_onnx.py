"""Write docs/onnx.md: what an ONNX file looks like, and which of JAX's operations have a form in it."""

from __future__ import annotations

from pathlib import Path

from phlox.interchange.onnx import _convert
from phlox.interchange.onnx.rules._complex import BY_PARTS, COMPLEX
from phlox.interchange.onnx.rules._refused import REFUSED

ROOT = Path(__file__).resolve().parent.parent

TEXT = """\
# ONNX files: what stands in them, and what can

A model is traced as any JAX program is, each operation is written by its rule, and the graph is tidied:

- Softmax, gelu, layer, root-mean-square and batch normalisation are one operator each, where the opset has it:
  `LayerNormalization` from 17, `Gelu` from 20, `RMSNormalization` from 23. Before, gelu has a form that readers fuse.
- Convolutions and pools want channels second. The transposes around them move past activations, sums, concatenations,
  pads, slices and means until they meet and cancel: of a whole network that of the input is left.
- What depends on no input is computed, where the file does not grow by it. A weight is turned once; one that several
  operations read stays one.
- An array is called by its path in the model, such as `stages.0.1.layers.2.conv.weight`, a node by that of its layer.
  Batch norms keep their statistics, scale and bias: who runs the file folds them into the convolution before.
- Weights that `px.compress` made integers are `layers.0.codes`, integers of the file with a `DequantizeLinear` behind
  them; what comes in rounded goes through `QuantizeLinear` and back. [Smaller models](compress.md) has which and how.

Sizes may stay open: `("batch", "time", 80)`. Weights of 2 GiB and more stand in a file beside the model's.

What the rules take for granted: a product of matrices that overflows to -∞ in all of a row of scores gives NaN
in place of zeros, and a layer norm has the precision that the reader gives it.

## Operations that have a form

`jax.make_jaxpr` shows the operations of a program.

| | operations of JAX |
|---|---|
"""


def main() -> None:
    """Write the page."""
    rows = [_row(family) for family in _convert._FAMILIES if not family.__name__.endswith("_refused")]
    both = sorted({*COMPLEX, *BY_PARTS, "dot_general"})
    rows.append(f"| Of complex arrays, as two real ones | {_listed(both)} |")
    (ROOT / "docs" / "onnx.md").write_text(TEXT + "\n".join(rows) + "\n" + _refused(), "utf-8")


def _row(family: object) -> str:
    title = str(family.__doc__).splitlines()[0].rstrip(".")
    return f"| {title} | {_listed(sorted(family.RULES))} |"


def _listed(names: list[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def _refused() -> str:
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, why in REFUSED.items():
        reasons.setdefault(why, []).append(name)
    rows = [f"| {what} | {fix} | {_listed(sorted(names))} |" for (what, fix), names in reasons.items()]
    return "\n".join([REFUSALS, *rows]) + "\n"


REFUSALS = """
## Operations that have none

They are refused by an error that names the layer, the operation and what would help, and no file is written. So is any
operation that stands in neither table.

| what it is | what would help | operations of JAX |
|---|---|---|"""

main()
