"""Models as tidied ONNX files: they give what the model gives, and hold no more than they need."""

from __future__ import annotations

from collections import Counter

import jax
import numpy as np
import onnx
import pytest

import phlox as px
from interchange.onnx_kit import close_to_largest, run, session, structs
from interchange.registry import BY_NAME, ROWS, Input, Row
from phlox.interchange.onnx import to_onnx
from phlox.interchange.onnx.tidy import tidy


def tidied(row: Row, beside_plain: bool = False, **options: int) -> onnx.ModelProto:
    """A row's model, tidied and held to what XLA computes (or the plain graph, which is), at each of its sizes."""
    model, function = row.build(), row.function()
    bounds = [f"{n} {sign} {k}" for n, ends in row.ranges.items() for sign, k in zip((">=", "<="), ends, strict=True)]
    plain = to_onnx(model, structs(row.inputs), call=function, constraints=bounds, **options)
    made = tidy(plain)
    assert len(made.graph.node) <= len(plain.graph.node)
    ready, compiled, other = session(made), px.jit(function), session(plain)
    for feeds in row.drawn():
        want = run(other, feeds) if beside_plain else jax.tree.leaves(compiled(model, *feeds.values()))
        for i, (a, b) in enumerate(zip(run(ready, feeds), want, strict=True)):
            close_to_largest(f"output {i} of {row.name}", a, b)
    return made


def ops(model: onnx.ModelProto) -> Counter[str]:
    """How many nodes of each operator."""
    return Counter(node.op_type for node in model.graph.node)


def test_a_convolutional_network_is_what_it_says() -> None:
    each = px.Conv((3, 3), 8, 8, px.relu, padding=1, groups=8, key=2)
    model = px.Chain(
        px.Conv((3, 3), 3, 8, padding=1, bias=False, key=0),
        px.BatchNorm(8, px.relu),
        px.SkipConnection(px.Chain(px.Conv((1, 1), 8, 8, key=1), each), sum_of),
        px.MaxPool((3, 3), stride=2, padding=1),
        px.MeanPool((2, 2)),
        px.flatten,
        px.Dense(32, 5, key=3),
    )  # fmt: skip
    made = tidied(Row("cnn", lambda: model, {"x": Input(("batch", 8, 8, 3))}))
    assert ops(made) == {
        "Transpose": 2, "Conv": 3, "BatchNormalization": 1, "Relu": 2, "Add": 1, "MaxPool": 1, "AveragePool": 1,
        "Reshape": 1, "Gemm": 1,
    }  # fmt: skip
    held = {t.name: tuple(t.dims) for t in made.graph.initializer}
    assert held["layers.0.weight"] == (8, 3, 3, 3)
    assert held["layers.1.mean"] == (8,)
    assert {n.name.rpartition("/")[0] for n in made.graph.node} >= {"layers.0", "layers.1", "layers.2.layer.layers.1"}


def sum_of(a: jax.Array, b: jax.Array) -> jax.Array:
    """What a block and its input are combined by."""
    return a + b


def test_a_transformer_is_what_it_says() -> None:
    made = tidied(BY_NAME["gpt2"], beside_plain=True, opset=20)
    found, blocks = ops(made), BY_NAME["gpt2"].build().config.n_layer
    assert (found["LayerNormalization"], found["Softmax"], found["Gelu"]) == (2 * blocks + 1, blocks, blocks)
    assert not {"ReduceMean", "Exp", "Erf", "Tanh", "Sqrt", "Reciprocal", "Pow"} & set(found)
    tied = [t for t in made.graph.initializer if len(t.dims) == 2 and max(t.dims) > 90]
    assert len({t.name for t in tied}) == len(tied)


@pytest.mark.soak
@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_every_row_of_the_registry_tidied(row: Row) -> None:
    tidied(row)


def test_numbers_are_those_of_the_model() -> None:
    model = px.Chain(px.Dense(4, 6, px.gelu, key=0), px.LayerNorm(6), px.Dense(6, 3, key=1), px.nn.functional.softmax)
    made = tidied(Row("mlp", lambda: model, {"x": Input(("batch", 4))}))
    assert ops(made) == {"Gemm": 2, "Div": 1, "Erf": 1, "Add": 1, "Mul": 2, "LayerNormalization": 1, "Softmax": 1}
    held = {t.name: onnx.numpy_helper.to_array(t) for t in made.graph.initializer}
    for name, value in px.split(model)[0].items():
        np.testing.assert_array_equal(held[name], value)
