"""``px.load_onnx``: the standard's own cases, our exports read back, weights that train, files that are refused."""

from __future__ import annotations

import importlib
import os
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from interchange.onnx_cases import cases, outcome, reason_without
from interchange.onnx_kit import close, session, structs
from interchange.registry import BY_NAME, ROWS
from kit import oracle
from phlox.interchange.onnx import to_onnx
from phlox.interchange.onnx.tidy import tidy
from phlox.weights import CorruptFileError

onnx = oracle("onnx")

FEW = {
    "conv": ["test_conv_with_autopad_same"],
    "convtranspose": ["test_convtranspose_output_shape", "test_convtranspose_autopad_same"],
    "gru": ["test_gru_batchwise"],
    "gathernd": ["test_gathernd_example_int32_batch_dim1"],
    "scatternd": ["test_scatternd_max"],
    "slice": ["test_slice_neg_steps"],
    "topk": ["test_top_k_smallest"],
    "cumsum": ["test_cumsum_1d_reverse_exclusive"],
    "layernormalization": ["test_layer_normalization_4d_axis1"],
    "groupnormalization": ["test_group_normalization_example"],
    "resize": ["test_resize_upsample_scales_cubic_asymmetric"],
    "quantizelinear": ["test_quantizelinear_axis"],
    "qlinearconv": ["test_qlinearconv"],
    "softmax": ["test_softmax_axis_1"],
    "if_": ["test_if"],
    "nonmaxsuppression": ["test_nonmaxsuppression_two_batches"],
    "scan": ["test_scan9_sum"],
}
"""Cases that the suite runs, by the module that they are in; soak runs all of them."""


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, names in FEW.items() for n in names])
def test_cases_of_the_standard(module, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(f"onnx.backend.test.case.node.{module}")
    from onnx.backend.test.case.node import _NodeTestCases as found

    assert outcome(next(c for c in found if c.name == name)) is None


@pytest.mark.soak
def test_nearly_every_case_of_the_standard():
    counted = {"passes": 0, "without": 0}
    wrong = {}
    for i, (name, case) in enumerate(cases().items()):
        why = outcome(case)
        if why is None:
            counted["passes"] += 1
        elif reason_without(name):
            counted["without"] += 1
        else:
            wrong[name] = why
        if i % 100 == 99:
            jax.clear_caches()
    assert not wrong
    assert counted["passes"] > 0.9 * sum(counted.values())


def _back(row):
    """A row of the registry out and in again, at its sizes."""
    model, function = row.build(), row.function()
    bounds = [f"{n} {sign} {k}" for n, ends in row.ranges.items() for sign, k in zip((">=", "<="), ends, strict=True)]
    made = tidy(to_onnx(model, structs(row.inputs), call=function, constraints=bounds))
    read, compiled = px.jit(px.load_onnx(made)), px.jit(function)
    names = [o.name for o in made.graph.output]
    for feeds in row.drawn():
        found = read(**{i.name: feeds[i.name] for i in made.graph.input})
        found = found if isinstance(found, dict) else {names[0]: found}
        for name, want in zip(names, jax.tree.leaves(compiled(model, *feeds.values())), strict=True):
            largest = max(1.0, float(np.abs(np.asarray(want, "float32")).max(initial=0)))
            near = {"float16": 2e-3, "bfloat16": 2e-2}.get(want.dtype.name, 1e-5)
            close(f"{name} of {row.name}", np.asarray(found[name]), np.asarray(want), largest * near)


@pytest.mark.parametrize("name", ["BatchNorm", "conv-space"])
def test_what_was_exported_comes_back(name):
    _back(BY_NAME[name])


@pytest.mark.soak
@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_every_row_of_the_registry_comes_back(row):
    _back(row)


@pytest.fixture(scope="module")
def network():
    """A small network, and the same one out of its file."""
    model = px.Chain(px.Dense(3, 4, px.tanh, key=0), px.BatchNorm(4), px.Dense(4, 2, key=1))
    model.layers[1].mean = jnp.array([0.1, 0.2, 0.3, 0.4])
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    made = to_onnx(model, {"x": jax.ShapeDtypeStruct((5, 3), jnp.float32)})
    return model, px.load_onnx(made), x


def test_weights_have_their_names_and_the_gradients_of_the_original(network):
    model, read, x = network
    assert set(read.weights) >= {"layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"}

    def loss(model, x):
        with px.training(False):
            return jnp.square(model(x)).sum()

    ours, theirs = (px.jit(px.grad(loss))(m, x) for m in (read, model))
    for i in (0, 2):
        for part in ("weight", "bias"):
            want = getattr(theirs.layers[i], part)
            np.testing.assert_allclose(ours.weights[f"layers.{i}.{part}"], want, rtol=1e-4, atol=1e-5)


def test_what_phlox_wrote_says_what_is_state(network):
    model, read, x = network
    assert {"layers.1.mean", "layers.1.var"} <= set(read.state)
    assert not any("mean" in name or "var" in name for name in read.weights)
    again = px.load_onnx(to_onnx(read, {"x": jax.ShapeDtypeStruct((5, 3), jnp.float32)}))
    assert {f"state.{name}" for name in read.state} == set(again.state)
    np.testing.assert_allclose(px.jit(again)(x), px.jit(model)(x), rtol=1e-5, atol=1e-6)


def test_it_trains(network):
    _, read, x = network
    model = px.copy(read)
    optimizer = px.Optimizer(px.optim.Adam(1e-2), model)

    @px.jit
    def step(model, optimizer, x):
        value, grads = px.value_and_grad(lambda model: jnp.square(model(x) - 1).mean())(model)
        optimizer.update(model, grads)
        return value

    losses = [float(step(model, optimizer, x)) for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]


# --- shapes, choices and loops --------------------------------------------------------------------------------


def parsed(body, version=17, functions=""):
    """A model from ONNX's own notation."""
    own = ', "own" : 1' if functions else ""
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {version}{own}]> {body} {functions}')


def test_a_shape_that_inputs_decide_is_refused_and_may_be_fixed():
    model = parsed("g (float[n] x, int64[k] shape) => (float[a, b] y) { y = Reshape(x, shape) }")
    x = np.arange(6, dtype=np.float32)
    with pytest.raises(px.ExportError, match=r"Reshape 'y' expects the shape known while tracing.*int32\[2\]"):
        px.jit(px.load_onnx(model))(x, np.array([2, 3]))
    read = px.load_onnx(model, fixed={"shape": np.array([2, -1])})
    assert read.inputs == ("x",)
    np.testing.assert_array_equal(px.jit(read)(x), x.reshape(2, 3))
    with pytest.raises(px.RangeError, match="fixed inputs among x, shape, got 'size'"):
        px.load_onnx(model, fixed={"size": 2})


def test_sizes_are_computed_while_tracing():
    model = parsed(
        """g (float[b, n] x) => (float[m] y) <int64[1] last = {-1}, int64 one = {1}, int64[1] front = {0}> {
        s = Shape(x)  n = Gather(s, one)  two = Constant<value_int: int = 2>()  h = Div(n, two)
        hs = Unsqueeze(h, front)  shape = Concat<axis = 0>(hs, last)
        r = Reshape(x, shape)  y = ReduceSum<keepdims = 0>(r, front) }"""
    )
    x = np.arange(20, dtype=np.float32).reshape(2, 10)
    np.testing.assert_allclose(px.jit(px.load_onnx(model))(x), x.reshape(5, -1).sum(0))


LOOP = """g (float[2] x, int64 most) => (float[2] last) <bool yes = {1}> {
    last = Loop(most, yes, x) <body = b (int64 i, bool go, float[2] a) => (bool on, float[2] c) {
        c = Add(a, a)  peak = ReduceMax<keepdims = 0>(c)  ten = Constant<value_float: float = 10.0>()
        on = Less(peak, ten) }> }"""


@pytest.mark.parametrize("most", [2, 9])
def test_a_loop_that_numbers_end_is_one_under_a_transform_too(most):
    model = parsed(LOOP)
    x = np.array([1, 2], np.float32)
    (want,) = session(model).run(None, {"x": x, "most": np.array(most)})
    np.testing.assert_allclose(px.jit(px.load_onnx(model))(x, np.array(most)), want)
    np.testing.assert_allclose(px.load_onnx(model, fixed={"most": most})(x), want)


def test_operators_of_the_file_itself():
    function = '<domain: "own", opset_import: ["" : 17]> twice (a) => (b) { b = Add(a, a) }'
    model = parsed("g (float[n] x) => (float[n] y) { t = own.twice(x)  y = own.twice(t) }", functions=function)
    np.testing.assert_allclose(px.jit(px.load_onnx(model))(np.ones(3, np.float32)), np.full(3, 4.0))


# --- weights where they stand, and how axes lie ---------------------------------------------------------------


SMALL_NET = """g (float[n, 3, 8, 8] x) => (float[n, 5] y)
    <int64[2] flat = {0, -1}> {
    a = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, first, b)
    n1 = BatchNormalization(a, scale, shift, mean, var)  r = Relu(n1)
    p = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(r)
    q = Conv<pads = [1, 1, 1, 1], group = 4>(p, second)  s = Add(q, r)
    both = Concat<axis = 1>(s, p)  t = ConvTranspose<strides = [2, 2]>(both, third)
    g = GlobalAveragePool(t)  v = Reshape(g, flat)  y = MatMul(v, head) }"""


SIZES = {
    "first": (4, 3, 3, 3), "b": (4,), "scale": (4,), "shift": (4,), "mean": (4,), "var": (4,), "second": (4, 1, 3, 3),
    "third": (8, 4, 2, 2), "head": (4, 5),
}  # fmt: skip


@pytest.fixture(scope="module")
def convolutions():
    """A network of convolutions, and a batch."""
    model, rng = parsed(SMALL_NET), np.random.default_rng(0)
    for name, size in SIZES.items():
        values = rng.uniform(0.1, 1.0, size) - (name != "var") / 2
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype("f"), name))
    return model, np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype("float32")


def test_kernels_have_the_order_of_the_house(convolutions):
    model, x = convolutions
    read = px.load_onnx(model)
    sizes = {name: read.weights[name].shape for name in ("first", "second", "third", "head")}
    assert sizes == {"first": (3, 3, 3, 4), "second": (3, 3, 1, 4), "third": (2, 2, 8, 4), "head": (4, 5)}
    theirs = {a.name: onnx.numpy_helper.to_array(a) for a in model.graph.initializer}
    np.testing.assert_array_equal(read.weights["first"], theirs["first"].transpose(2, 3, 1, 0))
    (want,) = session(model).run(None, {"x": x})
    np.testing.assert_allclose(px.jit(read)(x), want, rtol=1e-5, atol=1e-5)


def test_a_network_of_convolutions_turns_its_input_alone(convolutions):
    model, x = convolutions
    program = str(jax.make_jaxpr(px.constant(px.load_onnx(model)))(x))
    turns = re.findall(r"transpose\[permutation=\(([\d, ]+)\)", program)
    # the image; the kernel of the transposed convolution, as Phlox's own function has it; means (batch, channels, 1, 1)
    assert turns == ["0, 2, 3, 1", "0, 1, 3, 2", "0, 3, 1, 2"]


def test_numbers_beside_channels_that_lie_last():
    model = parsed("""g (float[n, 2, 3, 3] x, float[2, 2, 1, 1] w) => (float[n, 2, 2, 3] y)
        <float[2, 1, 1] up = {1, -2}, float[3] across = {1, 2, 3}, int64[4] low = {0, 0, 1, 0},
         int64[4] high = {9, 9, 9, 9}> {
        a = Conv(x, w)  b = Mul(a, up)  c = Add(b, across)  d = Where(flag, c, x)  y = Slice(d, low, high) }""")
    flag = np.arange(9).reshape(3, 3) % 2 == 0
    model.graph.initializer.append(onnx.numpy_helper.from_array(flag, "flag"))
    rng = np.random.default_rng(0)
    feeds = {"x": rng.normal(size=(2, 2, 3, 3)).astype("f"), "w": rng.normal(size=(2, 2, 1, 1)).astype("f")}
    (want,) = session(model).run(None, feeds)
    np.testing.assert_allclose(px.jit(px.load_onnx(model))(**feeds), want, rtol=1e-5, atol=1e-6)


def test_weights_of_branches_and_loops_have_names_and_gradients():
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    port = helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None)

    def branch(values, kind):
        weight = array(np.array(values, np.float32), "w")
        return helper.make_graph([helper.make_node(kind, ["x", "w"], ["z"])], "b", [], [port], [weight])

    node = helper.make_node(
        "If", ["flag"], ["y"], "choice", then_branch=branch([2, 3], "Mul"), else_branch=branch([5, 7], "Add")
    )
    flag = helper.make_tensor_value_info("flag", onnx.TensorProto.BOOL, [])
    model = _graph([node], x=(2,))
    model.graph.input.append(flag)
    read = px.load_onnx(model)
    assert {n: w.tolist() for n, w in read.weights.items()} == {"w": [5.0, 7.0], "choice.w": [2.0, 3.0]}
    slopes = px.jit(px.grad(lambda model, x, flag: (model(x, flag) * jnp.array([1.0, 2.0])).sum()))
    for held, other, want in ((True, "w", {"choice.w": [10.0, 40.0]}), (False, "choice.w", {"w": [1.0, 2.0]})):
        found = slopes(read, np.array([10, 20], np.float32), np.array(held)).weights
        assert {n: g.tolist() for n, g in found.items()} == {other: [0.0, 0.0], **want}


def test_branches_of_different_sizes_need_a_known_flag():
    model = parsed("""g (float[4] x, bool flag) => (float[n] y) { y = If(flag) <
        then_branch = a () => (float[n] z) { z = Concat<axis = 0>(x, x) },
        else_branch = b () => (float[n] w) { w = Neg(x) }> }""")
    x = np.arange(4, dtype=np.float32)
    with pytest.raises(px.ExportError, match=r"If 'y' expects branches .* got float32\[8\] and float32\[4\]"):
        px.jit(px.load_onnx(model))(x, np.array(True))
    np.testing.assert_array_equal(px.jit(px.load_onnx(model, fixed={"flag": True}))(x), [*x, *x])


LONG = """g (float[2] x, int64 most) => (float[2] last, float[m, 2] rows) <bool yes = {1}> {
    last, rows = Loop(most, yes, x) <body = b (int64 i, bool go, float[2] a) => (bool on, float[2] c, float[2] row) {
        half = Constant<value_floats: floats = [0.5, 0.9]>()  c = Mul(a, half)  row = Sub(c, a)
        on = Identity(go) }> }"""


def test_a_long_loop_of_known_length_stacks_and_has_gradients():
    model, x = parsed(LONG), np.array([1, 2], np.float32)
    want = session(model).run(None, {"x": x, "most": np.array(90)})
    read = px.load_onnx(model, fixed={"most": 90})
    found = px.jit(read)(x)
    np.testing.assert_allclose(found["last"], want[0], rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(found["rows"], want[1], rtol=1e-5, atol=1e-30)
    slope = px.jit(px.grad(lambda x, read: read(x)["rows"].sum()))(x, read)
    np.testing.assert_allclose(slope, [0.5**90 - 1, 0.9**90 - 1], rtol=1e-5)


def test_what_sizes_are_computed_from_is_no_weight():
    body = """g (float[1, 1, h, w] x) => (float[1, 1, a, b] y)
        <float[2] ones = {1, 1}, float[2] twice = {2, 3}, float[2, 2] gain = {1, 2, 3, 4}> {
        scales = Concat<axis = 0>(ones, twice)  y0 = Resize<mode = "nearest">(x, , scales)  y = Identity(y0) }"""
    model = parsed(body)
    read = px.load_onnx(model)
    assert set(read.weights) == {"gain"}
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(px.jit(read)(x), x.repeat(2, 2).repeat(3, 3))


def test_sizes_may_be_computed_by_any_operator():
    model = parsed(
        """g (float[b, n] x) => (float[m] y) <int64[2] which = {1, 0}, int64[1] one = {1}> {
        s = Shape(x)  turned = GatherElements<axis = 0>(s, which)  k, i = TopK<axis = 0>(turned, one)
        total = ReduceProd<keepdims = 1>(s)  rest = Div(total, k)  shape = Concat<axis = 0>(k, rest)
        r = Reshape(x, shape)  y = ReduceMax<axes = [0], keepdims = 0>(r) }""",
        17,
    )
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    np.testing.assert_array_equal(px.jit(px.load_onnx(model))(x), [10, 11])


def test_the_structure_is_printed(convolutions):
    model, _ = convolutions
    found = px.load_onnx(model).structure
    assert found.parameters == sum(np.prod(n) for n in ((108,), (4,), (4,), (4,), (36,), (128,), (20,)))
    assert {o.name: (o.nodes, o.parameters) for o in found.operators}["Conv"] == (2, 148)
    text = str(found)
    assert "g(x float32[n, 3, 8, 8]) → y float32[n, 5]" in text
    assert re.search(r"third +│ float32\[2, 2, 8, 4\] +│ +128 │ weight │ ConvTranspose", text)
    assert re.search(r"var +│ float32\[4\] +│ +4 │ state +│ BatchNormalization", text)
    assert "11 nodes, 304 parameters, 8 numbers of state; operators of ONNX 17" in text


def test_how_many_boxes_stay_is_not_known_in_a_transform():
    model = parsed("g (float[1, n, 4] x, float[1, 1, n] s) => (int64[k, 3] y) <int64 most = {4}, float half = {0.5}> {"
                   " y = NonMaxSuppression(x, s, most, half) }")  # fmt: skip
    x = np.array([[[0, 0, 4, 4], [4, 3, 0, 0], [5, 5, 6, 6], [7, 7, 9, 9]]], np.float32)
    s = np.array([[[0.5, 0.9, 0.8, 0.7]]], np.float32)
    read = px.load_onnx(model)
    (want,) = session(model).run(None, {"x": x, "s": s})
    assert want.tolist() == [[0, 0, 1], [0, 0, 2], [0, 0, 3]]
    np.testing.assert_array_equal(read(x, s), want)
    with pytest.raises(px.ExportError, match=r"NonMaxSuppression 'y' expects boxes and scores.*float32\[1, 4, 4\]"):
        px.jit(read)(x, s)


# --- what is refused --------------------------------------------------------------------------------------------


def _graph(nodes, arrays=(), x=("n",)):
    helper = onnx.helper
    ports = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, x) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], list(arrays))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_a_circle_is_refused():
    node = onnx.helper.make_node
    model = _graph([node("Add", ["x", "b"], ["a"]), node("Neg", ["a"], ["b"]), node("Neg", ["b"], ["y"])])
    with pytest.raises(CorruptFileError, match="node Add 'a' with 'b', which nothing makes before it"):
        px.load_onnx(model)


def test_operators_that_nobody_knows_are_named_together():
    node = onnx.helper.make_node
    model = _graph([node("Spin", ["x"], ["a"], domain="far"), node("Turn", ["a"], ["y"])])
    with pytest.raises(px.ExportError, match=r"got Turn, far\.Spin .*first at far\.Spin 'a'"):
        px.load_onnx(model)


@pytest.mark.parametrize("dims", [[3], [1 << 40], [-1]])
def test_sizes_that_are_not_true_are_refused_before_anything_is_made(dims):
    array = onnx.TensorProto(name="w", data_type=1, dims=dims, raw_data=b"\0" * 8)
    with pytest.raises(CorruptFileError, match="'w' to be as long as its sizes say"):
        px.load_onnx(_graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], [array]))


def _beside(location, **more):
    array = onnx.TensorProto(name="w", data_type=1, dims=[2], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        array.external_data.add(key=key, value=str(value))
    return _graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], [array])


def test_weights_in_a_file_beside_it(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 8)
    (tmp_path / "in" / "w.bin").write_bytes(np.array([9, 1, 2], "<f4").tobytes())
    os.symlink(tmp_path / "secret", tmp_path / "in" / "link")

    def load(*args, **more):
        onnx.save(_beside(*args, **more), tmp_path / "in" / "m.onnx")
        return px.load_onnx(tmp_path / "in" / "m.onnx")

    assert load("w.bin", offset=4, length=8).weights["w"].tolist() == [1.0, 2.0]
    for location in ("../secret", str(tmp_path / "secret"), "link", ""):
        with pytest.raises(CorruptFileError, match="arrays in files of the model's folder"):
            load(location)
    with pytest.raises(CorruptFileError, match=r"the file no\.bin beside the model"):
        load("no.bin")
    for more in ({"offset": 8}, {"offset": -8}, {"length": 4}, {"offset": "x"}):
        with pytest.raises(CorruptFileError, match="'w' to be as long as its sizes say"):
            load("w.bin", **more)


def test_what_is_no_file_of_onnx(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model at all")
    with pytest.raises(CorruptFileError, match="expects an ONNX file"):
        px.load_onnx(tmp_path / "m.onnx")
    with pytest.raises(px.weights.MissingFileError):
        px.load_onnx(tmp_path / "none.onnx")
    with pytest.raises(CorruptFileError, match="an ONNX file with a graph, got none"):
        px.load_onnx(b"")


def test_results_that_no_machine_holds_are_refused():
    model = parsed("g (float[n] x) => (float[a, b] y) <int64[2] s = {1099511627776, 8}> { y = Expand(x, s) }")
    with pytest.raises(px.ExportError, match="Expand 'y' expects a result of at most"):
        px.load_onnx(model)(np.ones(1, np.float32))


def test_graphs_too_deep_are_refused():
    helper = onnx.helper

    def branch(node):
        return helper.make_graph([node], "b", [], [onnx.ValueInfoProto(name="z")])

    leaf = branch(helper.make_node("Neg", ["x"], ["z"]))
    inner = leaf
    for _ in range(26):
        inner = branch(helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=leaf))
    flag = onnx.numpy_helper.from_array(np.array(True), "c")
    model = _graph([helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=leaf)], [flag])
    with pytest.raises(CorruptFileError, match="graphs at most 24 deep"):
        px.load_onnx(model)


def test_functions_that_call_themselves_are_refused():
    function = '<domain: "own", opset_import: ["" : 17, "own" : 1]> again (a) => (b) { b = own.again(a) }'
    model = parsed("g (float[n] x) => (float[n] y) { y = own.again(x) }", functions=function)
    with pytest.raises(px.ExportError, match="functions at most 32 deep"):
        px.load_onnx(model)(np.ones(2, np.float32))


def test_versions_that_are_not_known_are_refused():
    with pytest.raises(px.ExportError, match=r"operators of version 7 to .*, got 6"):
        px.load_onnx(parsed("g (float[n] x) => (float[n] y) { y = Neg(x) }", version=6))


def test_inputs_are_held_to_the_graph():
    read = px.load_onnx(parsed("g (float[n, 3] x) => (float[n, 3] y) { y = Neg(x) }"))
    with pytest.raises(px.ShapeError, match=r"x float32\[n, 3\], got float32\[2, 4\]"):
        read(np.ones((2, 4), np.float32))
    with pytest.raises(px.DtypeError, match="x float32"):
        read(np.ones((2, 3), np.int32))


def test_softmax_of_old_versions_is_along_all_axes_from_one_on():
    model = parsed("g (float[2, 3, 4] x) => (float[2, 3, 4] y) { y = Softmax<axis = 1>(x) }", version=11)
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    (want,) = session(model).run(None, {"x": x})
    np.testing.assert_allclose(px.jit(px.load_onnx(model))(x), want, rtol=1e-5, atol=1e-6)


def test_peepholes_are_those_of_their_gates():
    model = parsed("""g (float[4, 2, 3] x, float[2, 20, 3] w, float[2, 20, 5] r, float[2, 40] b, int32[2] n,
        float[2, 2, 5] h, float[2, 2, 5] c, float[2, 15] p) => (float[4, 2, 2, 5] y, float[2, 2, 5] last) {
        y, last = LSTM<hidden_size = 5, direction = "bidirectional", clip = 1.5>(x, w, r, b, n, h, c, p) }""")
    rng = np.random.default_rng(0)
    feeds = {i.name: rng.normal(size=[d.dim_value for d in i.type.tensor_type.shape.dim]) for i in model.graph.input}
    feeds = {name: a.astype("f") for name, a in feeds.items()} | {"n": np.array([4, 2], np.int32)}
    found = px.jit(px.load_onnx(model))(**feeds)
    for got, want in zip((found["y"], found["last"]), session(model).run(None, feeds), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


POOLS = """a = AveragePool<kernel_shape = [3, 2], strides = [2, 2], ceil_mode = 1, pads = [1, 0, 0, 1]>(x)
    b = AveragePool<kernel_shape = [3, 2], strides = [2, 3], ceil_mode = 1, pads = [1, 1, 1, 0],
        count_include_pad = 1>(x)
    c, at = MaxPool<kernel_shape = [2, 3], strides = [2, 2], pads = [1, 1, 0, 1], dilations = [2, 1]>(x)
    d = LpPool<kernel_shape = [2, 2], p = 3, auto_pad = "SAME_UPPER">(x)
    e = MaxPool<kernel_shape = [2, 2], strides = [3, 3], ceil_mode = 1>(x)"""


def test_pools_count_what_is_in_their_windows():
    outs = ", ".join(f"float[n, 2, {n}0, {n}1] {n}" for n in "abcde")
    model = parsed(f"g (float[n, 2, 7, 6] x) => ({outs}, int64[n, 2, c0, c1] at) {{ {POOLS} }}")
    x = np.random.default_rng(0).normal(size=(2, 2, 7, 6)).astype("float32")
    found = px.jit(px.load_onnx(model))(x)
    for name, want in zip((*"abcde", "at"), session(model).run(None, {"x": x}), strict=True):
        np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-6, err_msg=name)


OLD = {
    8: """a = Slice<axes = [2, 3], starts = [1, 0], ends = [-1, 9223372036854775807]>(x)
        b = Pad<pads = [0, 0, 1, 0, 0, 0, 0, 2], value = 0.5>(a)  c = Clip<min = -0.5, max = 0.7>(b)
        d = Squeeze<axes = [0]>(c)  e = Unsqueeze<axes = [0]>(d)  f, g = Split<axis = 1, split = [1, 3]>(e)
        v, i = TopK<axis = 3, k = 2>(g)  y0 = ReduceSum<axes = [1], keepdims = 0>(v)
        y1 = Upsample<scales = [1.0, 1.0, 2.0, 3.0]>(f)  h = Hardmax<axis = 2>(x)  l = LogSoftmax<axis = 1>(x)
        k = Dropout<ratio = 0.5>(l)  y2 = Add(h, k)""",
    10: """y0 = Resize<mode = "linear">(x, scales)  y1 = Slice(x, low, high, axes, steps)
        y2 = ThresholdedRelu<alpha = 0.5>(x)""",
}


@pytest.mark.parametrize("version", OLD)
def test_old_versions_have_their_own_forms(version):
    arrays = {
        "scales": np.array([1, 1, 1.5, 2], "f"), "low": np.array([-1]), "high": np.array([-9]), "axes": np.array([3]),
        "steps": np.array([-2]),
    }  # fmt: skip
    outs = ", ".join(
        f"float[{', '.join(f'o{i}{j}' for j in range(3 if (version, i) == (8, 0) else 4))}] y{i}" for i in range(3)
    )
    model = parsed(f"g (float[1, 4, 6, 6] x) => ({outs}) {{ {OLD[version]} }}", version)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in arrays.items() if version == 10)
    x = np.random.default_rng(0).normal(size=(1, 4, 6, 6)).astype("float32")
    found = px.jit(px.load_onnx(model))(x)
    for got, want in zip(found.values(), session(model).run(None, {"x": x}), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_statistics_and_settings_are_not_trained():
    body = """g (float[n, 2] x) => (float[n, 2] y)
        <float[2] scale = {1, 2}, float[2] bias = {0, 1}, float[2] mean = {3, 4}, float[2] var = {1, 4},
         float two = {2}> {
        a = BatchNormalization(x, scale, bias, mean, var)  y = Pow(a, two) }"""
    model = parsed(body)
    read = px.load_onnx(model)
    assert (set(read.weights), set(read.state)) == ({"scale", "bias"}, {"mean", "var"})
    x = np.array([[5, 7]], np.float32)
    (want,) = session(model).run(None, {"x": x})
    np.testing.assert_allclose(px.jit(read)(x), want, rtol=1e-5)
