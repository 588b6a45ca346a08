"""Operators of com.microsoft as ``px.load_onnx`` has them, beside ONNX Runtime's own: all in one graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import phlox as px
from kit import oracle

onnx = oracle("onnx")
onnxruntime = oracle("onnxruntime")

RNG = np.random.default_rng(0)


def f(*shape: int) -> np.ndarray:
    """Random numbers."""
    return RNG.normal(size=shape).astype(np.float32)


def u8(*shape: int) -> np.ndarray:
    """Random bytes."""
    return RNG.integers(0, 256, shape).astype(np.uint8)


def s(value: Any, dtype: str = "float32") -> np.ndarray:
    """A number without axes."""
    return np.asarray(value, dtype)


def eight(x: np.ndarray) -> list[np.ndarray]:
    """A quantised array with its scale and its zero."""
    return [x, s(0.02), s(120, "uint8")]


def angles(count: int) -> list[np.ndarray]:
    """Cosines and sines for nine places."""
    return [function(np.outer(np.arange(9), 10.0 ** -np.arange(count))).astype("f") for function in (np.cos, np.sin)]


MASK = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], np.int32)
ANSWER = [s(0.03), s(110, "uint8")]

CASES: dict[str, tuple[str, list[Any], int, dict[str, Any]]] = {
    "Gelu": ("Gelu", [f(2, 5)], 1, {}),
    "BiasGelu": ("BiasGelu", [f(2, 5), f(5)], 1, {}),
    "FastGelu": ("FastGelu", [f(2, 5), f(5)], 1, {}),
    "QuickGelu": ("QuickGelu", [f(2, 5)], 1, {"alpha": 1.5}),
    "FusedMatMul": ("FusedMatMul", [f(3, 2), f(4, 3)], 1, {"transA": 1, "transB": 1, "alpha": 0.5}),
    "SkipLayerNormalization": ("SkipLayerNormalization", [f(2, 3, 4), f(2, 3, 4), f(4), f(4), f(4)], 1, {}),
    "SkipSimplified": ("SkipSimplifiedLayerNormalization", [f(2, 3, 4), f(2, 3, 4), f(4)], 1, {"epsilon": 1e-3}),
    "FusedConv": (
        "FusedConv", [f(1, 2, 5, 5), f(3, 2, 3, 3), f(3)], 1,
        {"kernel_shape": [3, 3], "activation": "LeakyRelu", "activation_params": [0.2]},
    ),
    "FusedGemm": ("FusedGemm", [f(2, 3), f(3, 4), f(4)], 1, {"activation": "Relu", "alpha": 0.5}),
    "Inverse": ("Inverse", [f(2, 3, 3) + 3 * np.eye(3, dtype="f")], 1, {}),
    "Attention": ("Attention", [f(2, 4, 6), f(6, 12), f(12), np.array([3, 4], np.int32)], 1, {"num_heads": 2}),
    "Attention, causal": ("Attention", [f(2, 4, 6), f(6, 12), f(12), MASK], 1, {"num_heads": 2, "unidirectional": 1}),
    "Attention, memory": (
        "Attention", [f(2, 1, 6), f(6, 12), f(12), None, f(2, 2, 2, 3, 2)], 2, {"num_heads": 2, "unidirectional": 1}
    ),
    "MultiHeadAttention": (
        "MultiHeadAttention", [f(2, 3, 8), f(2, 4, 8), f(2, 4, 8), f(24), MASK, f(1, 2, 3, 4)], 1, {"num_heads": 2}
    ),
    "GroupQueryAttention": (
        "GroupQueryAttention",
        [
            f(2, 1, 64), f(2, 1, 32), f(2, 1, 32), f(2, 2, 5, 16), f(2, 2, 5, 16), s([5, 5], "int32"), s(6, "int32"),
            *angles(8),
        ],
        3, {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1},
    ),
    "RotaryEmbedding": ("RotaryEmbedding", [f(2, 3, 8), s([[0, 1, 2], [4, 5, 6]], "int64"), *angles(2)], 1, {}),
    "RotaryEmbedding, pairs": ("RotaryEmbedding", [f(2, 2, 3, 4), s([2], "int64"), *angles(2)], 1, {"interleaved": 1}),
    "EmbedLayerNormalization": (
        "EmbedLayerNormalization",
        [s([[1, 2, 0, 3]], "int32"), s([[0, 1, 1, 0]], "int32"), f(5, 6), f(9, 6), f(2, 6), f(6), f(6), MASK[:1]],
        2, {},
    ),
    "MatMulIntegerToFloat": (
        "MatMulIntegerToFloat", [u8(2, 4), u8(4, 3), s(0.1), f(3), s(7, "uint8"), s([9, 8, 7], "uint8"), f(3)], 1, {}
    ),
    "DynamicQuantizeMatMul": ("DynamicQuantizeMatMul", [f(2, 4), u8(4, 3), s(0.1), s(9, "uint8"), f(3)], 1, {}),
    "QGemm": (
        "QGemm", [*eight(u8(2, 4)), u8(3, 4), s(0.01), s(99, "uint8"), s([5, -9, 700], "int32"), *ANSWER], 1,
        {"transB": 1, "alpha": 0.5},
    ),
    "QAttention": (
        "QAttention",
        [u8(2, 4, 6), u8(6, 12), f(12), s(0.05), s(0.03), np.array([3, 4], np.int32), s(120, "uint8"), s(9, "uint8")],
        1, {"num_heads": 2},
    ),
    "TransposeMatMul": ("TransposeMatMul", [f(2, 3), f(2, 4)], 1, {"transA": 1}),
    "FusedConv, sum": ("FusedConv", [f(1, 2, 3, 3), f(3, 2, 1, 1), f(3), f(1, 3, 3, 3)], 1, {"activation": "Relu"}),
    "SimplifiedLayerNormalization": ("SimplifiedLayerNormalization", [f(2, 4), f(4)], 1, {"axis": -1}),
    "QLinearAdd": ("QLinearAdd", [*eight(u8(2, 4)), *eight(u8(4)), *ANSWER], 1, {}),
    "QLinearMul": ("QLinearMul", [*eight(u8(2, 4)), *eight(u8(4)), *ANSWER], 1, {}),
    "QLinearSigmoid": ("QLinearSigmoid", [*eight(u8(20)), s(1 / 256), s(0, "uint8")], 1, {}),
    "QLinearLeakyRelu": ("QLinearLeakyRelu", [*eight(u8(20)), *ANSWER], 1, {"alpha": 0.3}),
    "QLinearAveragePool": (
        "QLinearAveragePool", [*eight(u8(1, 2, 5, 5)), *ANSWER], 1,
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    ),
    "QLinearGlobalAveragePool": ("QLinearGlobalAveragePool", [*eight(u8(1, 2, 5, 5)), *ANSWER], 1, {}),
    "QLinearSoftmax": ("QLinearSoftmax", [*eight(u8(2, 9)), s(1 / 256), s(0, "uint8")], 1, {"axis": -1, "opset": 17}),
    "QLinearWhere": (
        "QLinearWhere", [s([[True], [False]], "bool"), *eight(u8(2, 4)), *eight(u8(2, 4)), *ANSWER], 1, {}
    ),
    "QLinearConcat": ("QLinearConcat", [*ANSWER, *eight(u8(2, 2)), *eight(u8(2, 3))], 1, {"axis": 1}),
    "MatMulNBits": (
        "MatMulNBits", [f(2, 40), u8(3, 2, 16), f(3, 2).ravel(), u8(3, 1).ravel()], 1,
        {"K": 40, "N": 3, "bits": 4, "block_size": 32},
    ),
}  # fmt: skip
"""Operator, inputs, outputs, attributes."""


def _graph() -> tuple[Any, dict[str, np.ndarray]]:
    helper = onnx.helper
    nodes, ports, feeds, outs = [], [], {}, []
    for i, (kind, arrays, count, attributes) in enumerate(CASES.values()):
        names = ["" if a is None else f"x{i}_{j}" for j, a in enumerate(arrays)]
        feeds |= {n: a for n, a in zip(names, arrays, strict=True) if n}
        made = [f"y{i}_{j}" for j in range(count)]
        domain = "" if kind == "SimplifiedLayerNormalization" else "com.microsoft"
        nodes.append(helper.make_node(kind, names, made, domain=domain, **attributes))
        outs += [onnx.ValueInfoProto(name=n) for n in made]
    for name, a in feeds.items():
        ports.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph(nodes, "g", ports, outs)
    return helper.make_model(graph, opset_imports=opsets, ir_version=8), feeds


@pytest.fixture(scope="module")
def results() -> tuple[dict[str, Any], dict[str, Any]]:
    """What we compute, and what ONNX Runtime does, by the names of outputs."""
    model, feeds = _graph()
    sizes = {n: a for n, a in feeds.items() if a.shape == () and a.dtype == np.int32}
    rest = {n: a for n, a in feeds.items() if n not in sizes}
    ours = px.jit(px.load_onnx(model, fixed=sizes))(**rest)
    names = [o.name for o in model.graph.output]
    for port in model.graph.output:  # a file says the dtypes of its outputs; ONNX Runtime holds it to them
        dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(ours[port.name].dtype))
        port.CopyFrom(onnx.helper.make_tensor_value_info(port.name, dtype, ours[port.name].shape))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return ours, dict(zip(names, session.run(None, feeds), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_beside_onnxruntime(results, name):
    ours, theirs = results
    i = list(CASES).index(name)
    for j in range(CASES[name][2]):
        got, want = np.asarray(ours[f"y{i}_{j}"]), theirs[f"y{i}_{j}"]
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        if want.dtype == np.uint8:  # ties of a rounding may fall either way
            assert np.abs(got.astype(int) - want.astype(int)).max() <= 1
            assert np.mean(got != want) <= 0.1
        else:
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
