"""Write docs/load_onnx.md: how an ONNX file becomes a Module, and which operators have a form in JAX."""

from __future__ import annotations

import importlib
from pathlib import Path

from phlox.interchange.onnx_reading.operators import FAMILIES, OPERATORS

ROOT = Path(__file__).resolve().parent.parent

TEXT = '''\
# Models of other programs, read from ONNX files

PyTorch, scikit-learn, TensorFlow and many a vendor write ONNX files. `px.load_onnx` reads one as a Module: its weights
have the names of the file's graph, it runs under every transform, it trains, and `px.export` writes it again. It needs
`pip install "phlox[onnx]"`.

>>> import jax.numpy as jnp, numpy as np, onnx, phlox as px
>>> text = """<ir_version: 8, opset_import: ["" : 17]>
... classifier (float[batch, 2] x) => (float[batch, 2] share)
...   <float[2, 2] weight = {1, 0, 0, 1}, float[2] bias = {0, 1}, float half = {0.5}> {
...     product = MatMul(x, weight)
...     scores = Add(product, bias)
...     soft = Mul(scores, half)
...     share = Softmax(soft) }"""
>>> model = px.load_onnx(onnx.parser.parse_model(text))
>>> round(float(px.jit(model)(jnp.array([[1.0, 2.0]]))[0, 1]), 3)
0.731
>>> model.inputs, model.outputs, sorted(model.weights)
(('x',), ('share',), ['bias', 'weight'])

A path, bytes or an `onnx.ModelProto` may be given. One output is an array, several are a dict by name; inputs go in by
their order or by their names.

>>> print(model.structure)
classifier(x float32[batch, 2]) → share float32[batch, 2]
operator ┃ nodes ┃ parameters
━━━━━━━━━╇━━━━━━━╇━━━━━━━━━━━
MatMul   │     1 │          4
Add      │     1 │          2
Mul      │     1 │
Softmax  │     1 │
<BLANKLINE>
array  ┃ is            ┃ numbers ┃ role   ┃ read by
━━━━━━━╇━━━━━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━╇━━━━━━━━
weight │ float32[2, 2] │       4 │ weight │ MatMul
bias   │ float32[2]    │       2 │ weight │ Add
4 nodes, 6 parameters, 0 numbers of state; operators of ONNX 17

## What trains

Floating arrays with axes are weights, graphs inside of loops and branches included. Not trained, but in `model.state`:
means and variances of batch normalisation, scales and zeros of quantisation, whole numbers. What has no axes (`half`
above), what sizes are computed from, and short lists of whole numbers are numbers of the program.

>>> grads = px.grad(lambda model, x: model(x)[:, 0].sum())(model, jnp.ones((3, 2)))
>>> [round(float(g), 3) for g in grads.weights["bias"]]
[0.353, -0.353]

A file computes what inference computes: normalisation by its statistics, no dropout, also while the model trains.
Kernels of convolutions that nothing else reads have Phlox's order, (space, in, out), so that they are not turned round
at each call; all other arrays have the file's.

## Sizes

Sizes that the file leaves open are those of the call, and what it computes from sizes is known while tracing. A size
that depends on what an input holds is not:

>>> text = """<ir_version: 8, opset_import: ["" : 17]>
... cut (float[n] x, int64[1] count) => (float[m] y) <int64[1] zero = {0}> { y = Slice(x, zero, count) }"""
>>> file = onnx.parser.parse_model(text)
>>> px.jit(px.load_onnx(file))(jnp.arange(4.0), np.array([2]))
Traceback (most recent call last):
phlox.core._errors.ExportError: Slice 'y' expects ends known while tracing, got int32[1], computed from inputs
  fix: give that input by px.load_onnx(file, fixed={name: value}), or cut ...
>>> px.jit(px.load_onnx(file, fixed={"count": np.array([2])}))(jnp.arange(4.0)).tolist()
[0.0, 1.0]

Outside of a transform such a model runs as it is. A loop whose number of steps inputs decide has no gradient.

## What is refused

| what | because | cure |
|---|---|---|
| operators in no table below | all of them are named at once | functions of the file, or a part of it |
| sequences, optional values, most of what is done with text | programs compute with numbers | the part behind them |
| `NonMaxSuppression`, `NonZero` and their like in a transform | as many results as inputs say | cut the model before |
| circles, names made twice, arrays shorter than their sizes | nothing half-read runs | write it anew |
| arrays in files outside of the model's folder, by links too | they are not the model's | |
| graphs more than 24 deep, results of more than 2³¹ numbers, 200 000 nodes in a call | not meant to be run | |

The standard has cases for each operator; all of them run in the long tests. [The choices](design/load_onnx.md) say why
it is done so, and [Performance](performance.md) what an imported model takes beside the original.

## Operators

By the rules of the version that the file names, 7 to 28.

| | operators |
|---|---|
'''


def main() -> None:
    """Write the page."""
    rows = [_row(family.__name__) for family in FAMILIES]
    (ROOT / "docs" / "load_onnx.md").write_text(TEXT + "\n".join(filter(None, rows)) + "\n", "utf-8")


def _row(module: str) -> str:
    title = str(importlib.import_module(module).__doc__).splitlines()[0].rstrip(".")
    names = [f"{d}.{n}" if d else n for (d, n), forms in OPERATORS.items() if _of(module, forms)]
    return f"| {title} | {' '.join(f'`{name}`' for name in sorted(names))} |" if names else ""


def _of(module: str, forms: list[tuple[int, object]]) -> bool:
    return any(getattr(operator, "__module__", "") == module for _, operator in forms)


main()
