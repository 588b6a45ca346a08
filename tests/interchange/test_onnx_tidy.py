"""Tidying a plain graph: each rule finds what it is for and leaves what only looks like it; results stay."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from phlox.interchange.onnx._saving import save_onnx
from phlox.interchange.onnx.tidy import tidy

RNG = np.random.default_rng(0)
BF16 = onnx.TensorProto.BFLOAT16


def draw(*shape: int) -> np.ndarray:
    """Numbers to compute with."""
    return RNG.standard_normal(shape).astype(np.float32)


def written(header: str, body: str, weights: dict[str, Any], opset: int = 18) -> onnx.ModelProto:
    """A model in ONNX's own text, with weights by name: floats, flags, and ints of 64 bits."""
    text = f'<ir_version: 9, opset_import: ["": {opset}]> f {header} {{ {body} }}'
    model = onnx.parser.parse_model(text)
    for name, value in weights.items():
        array = np.asarray(value)
        kind = {"f": np.float32, "i": np.int64}.get(array.dtype.kind)
        narrow = array.dtype in (np.float16, np.float32) or kind is None
        model.graph.initializer.append(onnx.numpy_helper.from_array(array if narrow else array.astype(kind), name))
    return model


def run(model: onnx.ModelProto, *inputs: np.ndarray) -> list[np.ndarray]:
    """What ONNX Runtime computes, without changes of its own."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip((i.name for i in session.get_inputs()), inputs, strict=True)))


def tidied(model: onnx.ModelProto, *feeds: tuple[np.ndarray, ...], within: float = 1e-5) -> onnx.ModelProto:
    """The tidied model, after both were valid and gave the same for all inputs."""
    before = model.SerializeToString()
    found = tidy(model)
    assert model.SerializeToString() == before, "the given model was changed"
    onnx.checker.check_model(found, full_check=True)
    assert [o.name for o in found.graph.output] == [o.name for o in model.graph.output]
    for feed in feeds:
        for expected, got in zip(run(model, *feed), run(found, *feed), strict=True):
            assert got.shape == expected.shape
            assert got.dtype == expected.dtype
            np.testing.assert_allclose(got, expected, rtol=within, atol=within)
    return found


def ops(model: onnx.ModelProto) -> Counter[str]:
    """How many nodes of each operator."""
    return Counter(node.op_type for node in model.graph.node)


def names(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights by name."""
    return {i.name: tuple(i.dims) for i in model.graph.initializer}


# --- what does nothing ----------------------------------------------------------------------------


def test_what_does_nothing_goes() -> None:
    body = """a = Identity (x) b = Cast <to=1> (a) c = Mul (b, one) d = Max (c, lowest) e = Reshape (d, same)
        f = Transpose <perm=[0, 1]> (e) g = Transpose <perm=[1, 0]> (f) h = Transpose <perm=[1, 0]> (g)
        i = Relu (h) unread = Exp (x) j = Relu (i) k = Relu (i) y = Add (j, k)"""
    weights = {"one": 1.0, "lowest": -math.inf, "same": [-1, 3]}
    found = tidied(written("(float[n, 3] x) => (float[n, 3] y)", body, weights), (draw(2, 3),))
    assert ops(found) == {"Relu": 2, "Add": 1}


def test_casts_go_where_they_lose_nothing() -> None:
    body = "a = Cast <to=1> (x) b = Cast <to=10> (a) y = Relu (b)"
    found = tidied(written("(float16[n, 3] x) => (float16[n, 3] y)", body, {}), (draw(2, 3).astype(np.float16),))
    assert ops(found) == {"Relu": 1}
    body = "a = Cast <to=10> (x) b = Cast <to=1> (a) y = Relu (b)"
    found = tidied(written("(float[n, 3] x) => (float[n, 3] y)", body, {}), (draw(2, 3),))
    assert ops(found) == {"Cast": 2, "Relu": 1}, "the narrow type rounds"


def test_expands_go_where_broadcasting_does_the_same() -> None:
    header = "(float[n, t, 3] x, float[t, 3] p, float[n, t, 3] z) => (float[n, t, 3] y)"
    body = "s = Shape (x) a = Unsqueeze (p, zero) b = Expand (a, s) y = Add (z, b)"
    feeds = [(draw(n, t, 3), draw(t, 3), draw(n, t, 3)) for n, t in ((2, 4), (3, 5))]
    assert ops(tidied(written(header, body, {"zero": [0]}), *feeds)) == {"Add": 1}
    body = "s = Shape (x) b = Expand (p, s) c = Expand (p, s) y = Add (c, b)"
    found = tidied(written(header, body, {}), *feeds)
    assert ops(found)["Expand"] == 1, "without any expand the batch would be gone"


def test_results_keep_their_names() -> None:
    body = "y = Identity (x) z = Identity (x) a = Relu (x) u = Identity (a) v = Identity (a)"
    header = "(float[n] x) => (float[n] y, float[n] z, float[n] u, float[n] v)"
    found = tidied(written(header, body, {}), (draw(3),))
    assert ops(found) == {"Identity": 3, "Relu": 1}


def test_graphs_inside_graphs_are_tidied_and_see_what_is_around() -> None:
    inner = """z = If (flag) <then_branch = yes () => (float[n, 3] p) { a = Identity (w) q = Identity (a) p = Exp (q) },
        else_branch = no () => (float[n, 3] r) { r = Relu (w) }>"""
    body = f"v = Identity (x) w = Mul (v, two) {inner} y = Add (z, w)"
    model = written("(float[n, 3] x, bool flag) => (float[n, 3] y)", body, {"two": 2.0})
    found = tidied(model, (draw(2, 3), np.array(True)), (draw(2, 3), np.array(False)))
    branch = next(node for node in found.graph.node if node.op_type == "If").attribute[0].g
    assert ops(found) == {"Mul": 1, "If": 1, "Add": 1}
    assert [node.op_type for node in branch.node] == ["Exp"]


# --- what depends on no input ---------------------------------------------------------------------


def test_a_weight_is_turned_once_and_keeps_its_name() -> None:
    kernel = draw(3, 3, 2, 4)
    body = "t = Transpose <perm=[3, 2, 0, 1]> (kernel) y = Conv <pads=[1, 1, 1, 1]> (x, t)"
    model = written("(float[n, 2, 5, 5] x) => (float[n, 4, 5, 5] y)", body, {"kernel": kernel})
    found = tidied(model, (draw(2, 2, 5, 5),))
    assert ops(found) == {"Conv": 1}
    assert names(found) == {"kernel": (4, 2, 3, 3)}
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(found.graph.initializer[0]), kernel.transpose(3, 2, 0, 1))


def test_a_shared_weight_stays_one() -> None:
    body = "e = Gather (table, x) t = Transpose <perm=[1, 0]> (table) y = MatMul (e, t)"
    model = written("(int64[n] x) => (float[n, 99] y)", body, {"table": draw(99, 8)})
    found = tidied(model, (np.array([3, 98, 0]),))
    assert names(found) == {"table": (99, 8)}
    assert ops(found) == {"Gather": 1, "Transpose": 1, "MatMul": 1}


def test_small_results_are_computed_and_large_ones_left() -> None:
    body = "a = Add (u, v) b = Mul (a, u) e = Expand (w, big) c = Add (x, b) y = Mul (c, e)"
    weights = {"u": draw(3), "v": draw(3), "w": draw(1, 3), "big": [500, 3]}
    found = tidied(written("(float[500, 3] x) => (float[500, 3] y)", body, weights), (draw(500, 3),))
    assert ops(found) == {"Add": 1, "Mul": 1}, "the expand is broadcasting's"
    body = "e = Expand (w, big) s = Transpose <perm=[1, 0]> (x) y = MatMul (s, e)"
    found = tidied(written("(float[500, 3] x) => (float[3, 3] y)", body, weights), (draw(500, 3),), within=1e-4)
    assert ops(found)["Expand"] == 1, "a file larger by 6 kB"


def test_whole_numbers_divide_towards_zero() -> None:
    body = "a = Div (u, v) y = Add (x, a)"
    model = written("(int64[3] x) => (int64[3] y)", body, {"u": [7, -7, -6], "v": [2, 2, -4]})
    assert ops(tidied(model, (np.array([0, 0, 0]),))) == {"Add": 1}


# --- operators recognised -------------------------------------------------------------------------

SOFTMAX = """m = ReduceMax <keepdims=0> (s, last) k = Unsqueeze (m, last) d = Sub (s, k) e = Exp (d)
    t = ReduceSum <keepdims=0> (e, AXIS) u = Unsqueeze (t, AXIS) """


def test_softmax_is_recognised_along_one_axis_alone() -> None:
    header, weights = "(float[n, t, t] s) => (float[n, t, t] y)", {"last": [2], "other": [1]}
    body = SOFTMAX.replace("AXIS", "last") + "y = Div (e, u)"
    assert ops(tidied(written(header, body, weights), (draw(2, 4, 4),), (draw(1, 3, 3),))) == {"Softmax": 1}
    body = SOFTMAX.replace("AXIS", "other") + "y = Div (e, u)"
    assert ops(tidied(written(header, body, weights), (draw(2, 4, 4),)))["Softmax"] == 0, "the sum of another axis"


def test_log_softmax_is_recognised() -> None:
    header, weights = "(float[n, t, t] s) => (float[n, t, t] y)", {"last": [2], "other": [1]}
    body = SOFTMAX.replace("AXIS", "last") + "l = Log (u) y = Sub (d, l)"
    assert ops(tidied(written(header, body, weights), (draw(2, 4, 4),))) == {"LogSoftmax": 1}
    body = SOFTMAX.replace("AXIS", "last") + "l = Log (u) y = Sub (s, l)"
    assert ops(tidied(written(header, body, weights), (draw(2, 4, 4),)))["LogSoftmax"] == 0, "x is not shifted"


GUARDED = """m = ReduceMax (s, last) i = IsInf (m) nan = IsNaN (m) o = Or (i, nan) f = Not (o) g = Where (f, m, zero)
    d = Sub (s, g) e = Exp (d) t = ReduceSum (e, last) q = Equal (t, zero) u = Where (q, one, t) y = Div (e, u)"""


def test_rows_that_see_nothing_stay_zero() -> None:
    weights = {"last": [2], "zero": 0.0, "one": 1.0, "hidden": -math.inf}
    header = "(float[n, t, t] a, bool[t, t] seen) => (float[n, t, t] y)"
    model = written(header, "s = Where (seen, a, hidden) " + GUARDED, weights)
    seen = np.array([[True, False], [False, False]])
    found = tidied(model, (draw(2, 2, 2), seen), (draw(1, 2, 2), ~seen))
    assert ops(found) == {"Softmax": 1, "ReduceMax": 1, "Equal": 1, "Where": 2}
    assert not run(found, draw(2, 2, 2), seen)[0][:, 1].any()


def test_products_need_no_guard_and_known_masks_that_leave_something() -> None:
    weights = {"last": [2], "zero": 0.0, "one": 1.0, "hidden": -math.inf, "half": 0.5}
    header = "(float[n, t, 2] a, float[n, 2, t] b) => (float[n, t, t] y)"
    model = written(header, "p = MatMul (a, b) s = Mul (p, half) " + GUARDED, weights)
    assert ops(tidied(model, (draw(2, 3, 2), draw(2, 2, 3)))) == {"MatMul": 1, "Mul": 1, "Softmax": 1}
    header = "(float[n, 3, 2] a, float[n, 2, 3] b) => (float[n, 3, 3] y)"
    for mask, guards in ((np.tril(np.ones((3, 3), bool)), 0), (np.tril(np.ones((3, 3), bool), -1), 1)):
        masked = "p = MatMul (a, b) s = Where (seen, p, hidden) "
        model = written(header, masked + GUARDED, weights | {"seen": mask})
        assert ops(tidied(model, (draw(2, 3, 2), draw(2, 2, 3))))["Equal"] == guards


CENTRED = """m = ReduceMean (x, last) d = Sub (x, m) r = ReduceMean (d, last) q = Mul (d, d) v = ReduceMean (q, last)
    w = Mul (r, r) s = Sub (v, w) p = Max (s, zero) c = Sub (d, r) e = Add (p, eps) h = Sqrt (e) i = Reciprocal (h)
    n = Mul (c, i) """
NORMED = "k = Mul (n, scale) y = Add (k, bias)"


def test_layer_norm_is_recognised_with_its_scale_and_bias() -> None:
    weights = {"last": [2], "zero": 0.0, "eps": 1e-3, "scale": draw(8), "bias": draw(8)}
    header = "(float[b, t, 8] x) => (float[b, t, 8] y)"
    found = tidied(written(header, CENTRED + NORMED, weights), (draw(2, 3, 8),), (3 * draw(1, 5, 8) + 2,))
    assert ops(found) == {"LayerNormalization": 1}
    assert names(found) == {"scale": (8,), "bias": (8,)}
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in found.graph.node[0].attribute}
    assert attributes["axis"] == 2
    assert attributes["epsilon"] == pytest.approx(1e-3)
    plain = """m = ReduceMean (x, last) c = Sub (x, m) q = Mul (c, c) v = ReduceMean (q, last) e = Add (v, eps)
        h = Sqrt (e) n = Div (c, h) y = Mul (n, scale)"""
    assert ops(tidied(written(header, plain, weights), (draw(2, 3, 8),))) == {"LayerNormalization": 1}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("last)", "first)"), "the mean over the batch"),
        (("w = Mul (r, r)", "w = Mul (r, v)"), "no variance"),
        (("q = Mul (d, d)", "q = Mul (d, x)"), "no square"),
        (("c = Sub (d, r)", "c = Sub (d, v)"), "not centred"),
        (("ReduceMean (q, last)", "ReduceMean (q, both)"), "the variance of more than the mean"),
    ],
)
def test_what_only_looks_like_layer_norm_is_left(change: tuple[str, str], why: str) -> None:
    weights = {"last": [2], "first": [0], "both": [1, 2], "zero": 0.0, "eps": 1e-3, "scale": draw(8), "bias": draw(8)}
    body = CENTRED.replace(*change) + NORMED
    found = tidied(written("(float[b, t, 8] x) => (float[b, t, 8] y)", body, weights), (draw(2, 3, 8),))
    assert ops(found)["LayerNormalization"] == 0, why


def test_rms_norm_is_recognised_where_the_opset_has_it() -> None:
    body = """q = Mul (x, x) v = ReduceMean (q, last) e = Add (v, eps) h = Sqrt (e) i = Reciprocal (h)
        n = Mul (x, i) y = Mul (n, scale)"""
    weights = {"last": [1], "eps": 1e-3, "scale": draw(8)}
    header = "(float[b, 8] x) => (float[b, 8] y)"
    assert ops(tidied(written(header, body, weights, 23), (draw(2, 8),))) == {"RMSNormalization": 1}
    assert ops(tidied(written(header, body, weights, 18), (draw(2, 8),)))["Div"] == 1
    other = body.replace("Mul (x, x)", "Mul (x, i0)").replace("q =", "i0 = Abs (x) q =")
    assert ops(tidied(written(header, other, weights, 23), (draw(2, 8),)))["RMSNormalization"] == 0


ERF = "h = Mul (half, x) m = Neg (x) s = Mul (m, root) e = Erf (s) c = Sub (one, e) y = Mul (h, c)"
TANH = """lo = Max (x, low) t = Min (lo, high) a = Mul (cubic, t) b = Mul (a, t) d = Mul (b, t) f = Add (t, d)
    g = Mul (factor, f) u = Tanh (g) c = Add (one, u) h = Mul (half, x) y = Mul (h, c)"""
NUMBERS = {
    "half": 0.5, "one": 1.0, "root": math.sqrt(0.5), "low": -20.0, "high": 20.0, "cubic": 0.044715,
    "factor": math.sqrt(2 / math.pi),
}  # fmt: skip


def test_gelu_is_recognised_in_both_forms() -> None:
    header, feed = "(float[n, 4] x) => (float[n, 4] y)", (np.linspace(-30, 30, 24, dtype=np.float32).reshape(6, 4),)
    for body, approximate in ((ERF, b"none"), (TANH, b"tanh")):
        found = tidied(written(header, body, NUMBERS, 20), feed)
        assert ops(found) == {"Gelu": 1}
        assert onnx.helper.get_attribute_value(found.graph.node[0].attribute[0]) == approximate
    found = tidied(written(header, ERF, NUMBERS, 18), feed)
    assert [node.op_type for node in found.graph.node] == ["Div", "Erf", "Add", "Mul", "Mul"], "as readers fuse it"


@pytest.mark.parametrize(
    ("body", "change"),
    [(ERF, {"root": 0.7}), (ERF, {"half": 0.4}), (ERF, {"root": -math.sqrt(0.5)}), (ERF, {"one": 1.1})]
    + [(TANH, {"cubic": 0.045}), (TANH, {"factor": 0.8}), (TANH, {"high": 2.0}), (TANH, {"low": -1.0})],
)
def test_other_numbers_make_no_gelu(body: str, change: dict[str, float]) -> None:
    model = written("(float[n, 4] x) => (float[n, 4] y)", body, NUMBERS | change, 20)
    assert ops(tidied(model, (3 * draw(6, 4),)))["Gelu"] == 0


# --- convolutions ---------------------------------------------------------------------------------

TO, FRO = "Transpose <perm=[0, 3, 1, 2]>", "Transpose <perm=[0, 2, 3, 1]>"
NORM = """a = Unsqueeze (mean, front) b = Unsqueeze (var, front) c = Sub (CONV, a) d = Add (b, eps) e = Sqrt (d)
    f = Reciprocal (e) g = Mul (c, f) s = Unsqueeze (scale, front) h = Mul (g, s) t = Unsqueeze (bias, front)
    i = Add (h, t) """
STATISTICS = {
    "front": [0, 1, 2], "eps": 1e-3, "mean": draw(4), "var": np.abs(draw(4)) + 0.5, "scale": draw(4), "bias": draw(4),
}  # fmt: skip


def test_batch_norm_keeps_the_statistics_and_their_names() -> None:
    conv = f"x1 = {TO} (x) k = Transpose <perm=[3, 2, 0, 1]> (kernel) x2 = Conv (x1, k) x3 = {FRO} (x2) "
    model = written(
        "(float[n, 5, 5, 2] x) => (float[n, 3, 3, 4] y)",
        conv + NORM.replace("CONV", "x3") + "y = Relu (i)",
        STATISTICS | {"kernel": draw(3, 3, 2, 4)},
    )
    found = tidied(model, (draw(2, 5, 5, 2),), (draw(1, 5, 5, 2),))
    assert ops(found) == {"Transpose": 2, "Conv": 1, "BatchNormalization": 1, "Relu": 1}
    norm = next(node for node in found.graph.node if node.op_type == "BatchNormalization")
    assert list(norm.input[1:]) == ["scale", "bias", "mean", "var"]
    assert names(found) == {"kernel": (4, 2, 3, 3), "scale": (4,), "bias": (4,), "mean": (4,), "var": (4,)}


def test_batch_norm_alone_is_one_product_and_one_sum() -> None:
    header = "(float[n, 3, 3, 4] x) => (float[n, 3, 3, 4] i)"
    found = tidied(written(header, NORM.replace("CONV", "x"), STATISTICS), (draw(2, 3, 3, 4),))
    assert ops(found) == {"Mul": 1, "Add": 1}
    columns = STATISTICS | {"front": [0, 1, 3]}
    header = "(float[n, 3, 4, 4] x) => (float[n, 3, 4, 4] i)"
    found = tidied(written(header, NORM.replace("CONV", "x"), columns), (draw(2, 3, 4, 4),))
    assert ops(found)["BatchNormalization"] == 0, "statistics of another axis"
    assert ops(found)["Transpose"] == 0


def conv(x: str, kernel: str, y: str, also: str = "") -> str:
    """A convolution of channels last, as it is written plainly."""
    turned = f"{y}_x = {TO} ({x}) {y}_k = Transpose <perm=[3, 2, 0, 1]> ({kernel})"
    return f"{turned} {y}_c = Conv <pads=[1, 1, 1, 1]> ({y}_x, {y}_k) {y} = {FRO} ({y}_c) "


def test_transposes_cancel_across_a_block() -> None:
    body = (
        conv("x", "k1", "a") + "b = Add (a, bias) c = Relu (b) "
        + conv("c", "k2", "d") + conv("c", "k3", "e")
        + "f = Add (d, e) g = Sigmoid (f) h = Mul (f, g) i = Pad (h, pads, lowest) "
        + f"j = {TO} (i) k = MaxPool <kernel_shape=[3, 3], strides=[2, 2]> (j) l = {FRO} (k) "
        + "m = Concat <axis=3> (l, l) o = Mul (m, gain) p = ReduceMean (o, space) y = Reshape (p, flat)"
    )  # fmt: skip
    weights = {
        "k1": draw(3, 3, 2, 4), "k2": draw(3, 3, 4, 4), "k3": draw(3, 3, 4, 4), "bias": draw(4), "gain": draw(8),
        "pads": [0, 1, 1, 0, 0, 1, 1, 0], "lowest": -math.inf, "space": [1, 2], "flat": [-1, 8],
    }  # fmt: skip
    model = written("(float[n, 6, 6, 2] x) => (float[n, 8] y)", body, weights)
    found = tidied(model, (draw(2, 6, 6, 2),), (draw(1, 6, 6, 2),), within=1e-4)
    assert ops(found)["Transpose"] == 1, "of the input, and no more"
    assert ops(found)["Pad"] == 0
    assert ops(found)["GlobalAveragePool"] == 1
    assert ops(found)["Add"] == 1, "the bias is the convolution's"
    assert {"k1", "k2", "k3", "bias", "gain"} <= set(names(found))


@pytest.mark.parametrize(
    ("middle", "weights"),
    [
        ("b = Slice (a, starts, ends, axes, steps)", {"starts": [1], "ends": [4], "axes": [1], "steps": [2]}),
        ("b = Softmax <axis=-1> (a)", {}),
        ("r = ReduceSum <keepdims=0> (a, rows) b = Unsqueeze (r, rows)", {"rows": [1]}),
        ("s = ReduceMax (a, rows) b = Sub (a, s)", {"rows": [1, 2]}),
        ("z = Clip (a, lo, hi) b = Where (flags, z, a)", {"lo": -1.0, "hi": 1.0, "flags": draw(5, 1, 4) > 0}),
        ("b = Pad (a, pads)", {"pads": [0, 1, 2, 3, 0, 0, 0, 0]}),
        ("s = ReduceMean (a, rows) t = Reshape (s, flat) u = MatMul (t, w) q = Reshape (u, full) b = Mul (a, q)",
         {"rows": [1, 2], "flat": [-1, 4], "w": draw(4, 4), "full": [-1, 1, 1, 4]}),
    ],
)  # fmt: skip
def test_transposes_move_past(middle: str, weights: dict[str, Any]) -> None:
    shape = {"Slice": "2, 5, 4", "Unsqu": "1, 5, 4", "Pad": "6, 7, 7"}
    size = next((s for op, s in shape.items() if op in middle), "5, 5, 4")
    body = conv("x", "k1", "a") + middle + " y = Transpose <perm=[0, 3, 1, 2]> (b)"
    height, width, channels = size.split(", ")
    header = f"(float[n, 5, 5, 2] x) => (float[n, {channels}, {height}, {width}] y)"
    found = tidied(written(header, body, weights | {"k1": draw(3, 3, 2, 4)}), (draw(2, 5, 5, 2),), within=1e-4)
    assert ops(found)["Transpose"] == (2 if "MatMul" in middle else 1)


def test_heads_keep_their_transposes() -> None:
    body = "a = Transpose <perm=[0, 2, 1, 3]> (x) b = Relu (a) y = MatMul (b, w)"
    found = tidied(
        written("(float[n, t, 2, 4] x) => (float[n, 2, t, 4] y)", body, {"w": draw(4, 4)}), (draw(2, 3, 2, 4),)
    )
    assert [node.op_type for node in found.graph.node] == ["Transpose", "Relu", "MatMul"]


def test_sums_of_windows_divided_by_their_size_are_means() -> None:
    body = "a = AveragePool <kernel_shape=[3, 2]> (x) b = Mul (a, six) c = Div (b, three) y = Div (c, two)"
    header = "(float[n, 2, 5, 4] x) => (float[n, 2, 3, 3] y)"
    model = written(header, body, {"six": 6.0, "three": 3.0, "two": 2.0})
    assert ops(tidied(model, (draw(2, 2, 5, 4),))) == {"AveragePool": 1}
    model = written(header, body, {"six": 6.0, "three": 3.0, "two": 4.0})
    assert ops(tidied(model, (draw(2, 2, 5, 4),))) == {"AveragePool": 1, "Mul": 1}


# --- products -------------------------------------------------------------------------------------


def test_rows_need_not_be_flattened_for_a_product() -> None:
    header, weights = "(float[n, t, 3] x) => (float[n, t, 4] y)", {"w": draw(3, 4), "b": draw(4), "flat": [-1, 3]}
    shape = "s = Shape <end=2> (x) four = Constant <value_ints=[4]> () shape = Concat <axis=0> (s, four) "
    body = shape + "a = Reshape (x, flat) m = MatMul (a, w) z = Reshape (m, shape) y = Add (z, b)"
    feeds = [(draw(2, 5, 3),), (draw(1, 1, 3),)]
    assert ops(tidied(written(header, body, weights), *feeds)) == {"MatMul": 1, "Add": 1}
    other = "(float[2, 6, 2] x) => (float[2, 4, 4] y)"
    body = "a = Reshape (x, flat) m = MatMul (a, w) z = Reshape (m, shape) y = Add (z, b)"
    found = tidied(written(other, body, weights | {"shape": [2, 4, 4]}), (draw(2, 6, 2),))
    assert ops(found)["Reshape"] == 2, "rows that are no rows of x"


def test_a_product_of_matrices_takes_its_bias() -> None:
    weights = {"w": draw(3, 4), "b": draw(4), "c": draw(3)}
    found = tidied(
        written("(float[n, 3] x) => (float[n, 4] y)", "m = MatMul (x, w) y = Add (b, m)", weights), (draw(2, 3),)
    )
    assert ops(found) == {"Gemm": 1}
    body = "m = MatMul (x, w) a = Add (m, b) y = Mul (a, m)"
    found = tidied(written("(float[n, 3] x) => (float[n, 4] y)", body, weights), (draw(2, 3),))
    assert ops(found)["MatMul"] == 1, "the product is read without the bias too"


# --- sixteen bits, and files ----------------------------------------------------------------------


def test_sixteen_bits_stay_sixteen() -> None:
    body = "t = Transpose <perm=[1, 0]> (w) a = MatMul (x, t) y = Mul (a, one)"
    weights = {"w": draw(4, 3).astype(np.float16), "one": np.float16(1)}
    found = tidied(written("(float16[n, 3] x) => (float16[n, 4] y)", body, weights), (draw(2, 3).astype(np.float16),))
    assert ops(found) == {"MatMul": 1}
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 18]> f (bfloat16[n, 3] x) => (bfloat16[n, 2] y)'
        " { t = Transpose <perm=[1, 0]> (w) y = MatMul (x, t) }"
    )
    numbers = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    model.graph.initializer.append(onnx.helper.make_tensor("w", BF16, [2, 3], numbers))
    found = tidied(model)
    (w,) = found.graph.initializer
    assert (w.name, w.data_type, list(w.dims)) == ("w", BF16, [3, 2])
    wide = onnx.numpy_helper.to_array(w).astype(np.float32)
    np.testing.assert_allclose(wide, np.reshape(numbers, (2, 3)).T, rtol=4e-3)


def test_weights_beyond_the_limit_stand_beside_the_file(tmp_path: Path) -> None:
    model = written("(float[n, 40] x) => (float[n, 40] y)", "y = MatMul (x, w)", {"w": draw(40, 40)})
    x = draw(2, 40)
    assert save_onnx(model, tmp_path / "small.onnx") == [tmp_path / "small.onnx"]
    files = save_onnx(model, tmp_path / "model.onnx", limit=1000)
    assert [f.name for f in files] == ["model.onnx", "model.onnx.data"]
    assert files[0].stat().st_size < 1000 < files[1].stat().st_size
    session = onnxruntime.InferenceSession(files[0], providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], run(model, x)[0])
    onnx.checker.check_model(files[0], full_check=True)
    save_onnx(model, tmp_path / "model.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "small.onnx"], "the old weights go"


def test_a_file_that_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = written("(float[n, 40] x) => (float[n, 40] y)", "y = MatMul (x, w)", {"w": draw(40, 40)})
    save_onnx(model, tmp_path / "model.onnx")
    before = (tmp_path / "model.onnx").read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("phlox.interchange.onnx._saving._written_apart", full)
    with pytest.raises(OSError, match="room for"):
        save_onnx(model, tmp_path / "model.onnx", limit=1000)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == before
