"""``px.load_onnx`` on files that are damaged or mean harm: an error in four parts, in bounded time and memory."""

from __future__ import annotations

import os
import resource
import time

import jax
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.interchange.onnx_reading import _bounds
from phlox.weights import CorruptFileError

onnx = oracle("onnx")
helper = onnx.helper
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
ROOM = 1 << 30
"""Bytes that a test may take beyond what the process has."""


@pytest.fixture(autouse=True)
def bounded():
    """Not much memory, and not much time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, hard))
    start = time.perf_counter()
    try:
        yield
        assert time.perf_counter() - start < 60
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def parsed(body, version=18, functions="", domains=""):
    """A model from ONNX's own notation."""
    own = ', "own" : 1' if functions else ""
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {version}{own}{domains}]> {body} {functions}')


def graph_of(nodes, arrays=(), inputs=("x",), outputs=("y",), shape=("n",)):
    """A model of nodes, whose inputs and outputs are floats."""
    ports = [[helper.make_tensor_value_info(n, FLOAT, shape) for n in names] for names in (inputs, outputs)]
    graph = helper.make_graph(nodes, "g", *ports, list(arrays))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def assert_told(error):
    """Where, expected, got, and a fix."""
    text = str(error)
    assert " expects " in text, text
    assert ", got " in text, text
    assert "\n  fix: " in text, text
    assert len(text) < 2000


def refused(model, *, match=None):
    """Refused when it is loaded."""
    with pytest.raises(px.PhloxError, match=match) as caught:
        px.load_onnx(model)
    assert_told(caught.value)


def refused_when_called(model, *inputs, match=None):
    """Refused when it is called, line by line and compiled."""
    read = px.load_onnx(model)
    for call in (px.jit(read), read):
        with pytest.raises(px.PhloxError, match=match) as caught:
            call(*inputs)
        assert_told(caught.value)


# --- results that no machine holds, by numbers of the file -------------------------------------------------------

GIANT = "1099511627776"
X = np.ones((1, 1, 2, 2), np.float32)

TOO_MUCH = {
    "Expand": f"<int64[5] s = {{{GIANT}, 8, 1, 2, 2}}> {{ y = Expand(x, s) }}",
    "Tile": f"<int64[4] s = {{{GIANT}, 1, 1, 8}}> {{ y = Tile(x, s) }}",
    "Pad": f"<int64[8] s = {{0, 0, 0, 0, 0, 0, 0, {GIANT}}}> {{ y = Pad(x, s) }}",
    "ConstantOfShape": f"<int64[2] s = {{{GIANT}, 4}}> {{ y = ConstantOfShape(s) }}",
    "Range": f"<int64 a = {{0}}, int64 b = {{{GIANT}}}, int64 c = {{1}}> {{ r = Range(a, b, c) y = Cast<to = 1>(r) }}",
    "OneHot": f"<int64[1] i = {{0}}, int64[1] d = {{{GIANT}}}, float[2] v = {{0, 1}}> {{ y = OneHot(i, d, v) }}",
    "Resize": f"<int64[4] s = {{1, 1, {GIANT}, 2}}> {{ y = Resize(x, , , s) }}",
    "Resize scales": "<float[4] s = {1, 1, 1e9, 1e9}> { y = Resize(x, , s) }",
    "HannWindow": f"<int64 n = {{{GIANT}}}> {{ y = HannWindow(n) }}",
    "MaxPool": f"{{ y = MaxPool<kernel_shape = [1, 1], pads = [0, {GIANT}, 0, {GIANT}]>(x) }}",
    "AveragePool": f"{{ y = AveragePool<kernel_shape = [{GIANT}, 1], pads = [{GIANT}, 0, {GIANT}, 0]>(x) }}",
    "ConvTranspose": f"""<float[1, 1, 1, 1] w = {{1}}>
        {{ y = ConvTranspose<strides = [1, 1], output_padding = [0, {GIANT}]>(x, w) }}""",
    "ConvTranspose strides": f"<float[1, 1, 1, 1] w = {{1}}> {{ y = ConvTranspose<strides = [{GIANT}, 1]>(x, w) }}",
    "CenterCropPad": f"<int64[4] s = {{1, 1, 2, {GIANT}}}> {{ y = CenterCropPad(x, s) }}",
    "Col2Im": f"""<int64[2] s = {{{GIANT}, 2}}, int64[2] b = {{1, 1}}, int64[3] t = {{1, 1, 4}}>
        {{ f = Reshape(x, t) y = Col2Im(f, s, b) }}""",
    "Concat in a Loop": """<int64 many = {60}, bool go = {1}, int64[4] big = {1, 2, 3, 4}> {
        last = Loop(many, go, big) <body = b (int64 i, bool on, int64[n] a) => (bool more, int64[m] c) {
            more = Identity(on)  c = Concat<axis = 0>(a, a) }>
        y = Cast<to = 1>(last) }""",
    "sums of all pairs": """<int64[2] s = {65536, 1}, int64[2] t = {1, 65536}> {
        a = ConstantOfShape(s)  b = ConstantOfShape(t)  c = Add(a, b)  d = Add(c, c)  y = Mul(d, x) }""",
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_results_that_no_machine_holds(name):
    refused_when_called(parsed(f"g (float[1, 1, 2, 2] x) => (float[a, b, c, d] y) {TOO_MUCH[name]}"), X)


def test_weights_that_a_loop_makes_long():
    """Compiled, where nothing is computed yet; line by line each of the arrays would be made."""
    body = TOO_MUCH["Concat in a Loop"].replace("int64[", "float[")
    read = px.load_onnx(parsed(f"g (float[1, 1, 2, 2] x) => (float[a, b, c, d] y) {body}"))
    with pytest.raises(px.ExportError, match="Concat 'c' expects a result of at most") as caught:
        px.jit(read)(X)
    assert_told(caught.value)


def test_loops_without_end(monkeypatch):
    monkeypatch.setattr(_bounds, "MOST", 3000)
    body = """<int64 many = {4611686018427387904}, bool go = {1}, float one = {1}> {
        last = Loop(many, go, one) <body = b (int64 i, bool on, float a) => (bool more, float c) {
            more = Identity(on)  c = Mul(a, a) }>
        y = Mul(last, x) }"""
    refused_when_called(
        parsed(f"g (float[1, 1, 2, 2] x) => (float[a, b, c, d] y) {body}"), X, match="at most 3000 nodes"
    )


# --- nodes that are none of their kind ----------------------------------------------------------------------------

make = helper.make_node
WEIGHT = onnx.numpy_helper.from_array(np.ones((3, 5), np.float32), "w")
WORDS = helper.make_tensor("s", onnx.TensorProto.STRING, [2], [b"a", b"b"])

WRONG_NODES = {
    "an input too few": ([make("Add", ["x"], ["y"])], ()),
    "an input too many": ([make("Neg", ["x", "x", "x"], ["y"])], ()),
    "no inputs": ([make("Concat", [], ["y"], axis=0)], ()),
    "an output too many": ([make("Neg", ["x"], ["z", "y"])], ()),
    "an axis that is text": ([make("Softmax", ["x"], ["y"], axis="wide")], ()),
    "an axis beyond": ([make("Softmax", ["x"], ["y"], axis=1 << 62)], ()),
    "axes of another rank": ([make("Transpose", ["x"], ["y"], perm=[0, 7])], ()),
    "an axis behind the last": ([make("Concat", ["x", "x"], ["y"], axis=2)], ()),
    "no attribute": ([make("Cast", ["x"], ["y"])], ()),
    "a dtype that is none": ([make("Cast", ["x"], ["y"], to=999)], ()),
    "matrices that do not fit": ([make("MatMul", ["x", "w"], ["y"])], (WEIGHT,)),
    "text in arithmetic": ([make("Add", ["x", "s"], ["y"])], (WORDS,)),
    "a branch that is a number": ([make("If", ["c"], ["y"], then_branch=1, else_branch=2)],
                                  (onnx.numpy_helper.from_array(np.array(True), "c"),)),
    "no branch": ([make("If", ["c"], ["y"])], (onnx.numpy_helper.from_array(np.array(True), "c"),)),
    "an equation that is none": ([make("Einsum", ["x", "w"], ["y"], equation="i->j->k")], (WEIGHT,)),
    "steps of zero": ([make("Conv", ["x", "k"], ["y"], strides=[0, 0])],
                      (onnx.numpy_helper.from_array(np.ones((1, 2, 1), np.float32), "k"),)),
    "a whole tensor for a shape": ([make("Reshape", ["x", "w"], ["y"])], (WEIGHT,)),
    "a gate that nobody knows": ([make("LSTM", ["x", "w", "w"], ["y"], activations=["spin"])], (WEIGHT,)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_NODES)
def test_nodes_that_are_none_of_their_kind(name):
    nodes, arrays = WRONG_NODES[name]
    refused_when_called(graph_of(nodes, arrays, shape=(2, 2)), np.ones((2, 2), np.float32))


# --- graphs ---------------------------------------------------------------------------------------------------------


def branches(node):
    return helper.make_graph([node], "b", [], [onnx.ValueInfoProto(name="z")])


def test_circles():
    refused(graph_of([make("Add", ["x", "b"], ["a"]), make("Neg", ["a"], ["b"]), make("Neg", ["b"], ["y"])]))
    refused(graph_of([make("Add", ["x", "y"], ["y"])]))
    inner = branches(make("Add", ["x", "z"], ["z"]))
    refused(graph_of([make("If", ["x"], ["y"], then_branch=inner, else_branch=inner)]))
    refused(graph_of([make("Neg", ["x"], ["z"])]), match="the outputs with 'y', which nothing makes")
    inner = branches(make("Neg", ["later"], ["z"]))
    later = make("Neg", ["y"], ["later"])
    refused(graph_of([make("If", ["x"], ["y"], then_branch=inner, else_branch=inner), later]), match="'later'")


def test_names_that_are_made_twice():
    neg, w = make("Neg", ["x"], ["y"]), onnx.numpy_helper.from_array(np.ones(2, np.float32), "w")
    refused(graph_of([neg, neg]), match="names that are made once, got 'y' twice")
    refused(graph_of([neg], [w, w]), match="'w' twice")
    refused(graph_of([neg], inputs=("x", "x")), match="'x' twice")
    refused(graph_of([neg, make("Neg", ["y"], ["x"])]), match="'x' twice")
    twice = helper.make_graph([make("Neg", ["x"], ["z"])] * 2, "b", [], [onnx.ValueInfoProto(name="z")])
    refused(graph_of([make("If", ["x"], ["y"], then_branch=twice, else_branch=twice)]), match="'z' twice")
    pair = '<domain: "own", opset_import: ["" : 18]> one (a) => (b) { b = Neg(a) }'
    refused(parsed("g (float[n] x) => (float[n] y) { y = own.one(x) }", functions=pair + pair), match=r"own\.one")


def test_functions_that_grow_without_bound():
    call = '<domain: "own", opset_import: ["" : 18, "own" : 1]> f{} (a) => (b) {{ c = own.f{}(a)  b = own.f{}(c) }}'
    rest = '<domain: "own", opset_import: ["" : 18]> f30 (a) => (b) { b = Neg(a) }'
    doubling = " ".join(call.format(i, i + 1, i + 1) for i in range(30)) + rest
    model = parsed("g (float[n] x) => (float[n] y) { y = own.f0(x) }", functions=doubling)
    refused(model, match="at most 200000 nodes")
    circle = call.format(0, 1, 1) + call.format(1, 0, 0)
    refused(parsed("g (float[n] x) => (float[n] y) { y = own.f0(x) }", functions=circle), match="32 deep")


def _length(n):
    """A length as protocol buffers write it."""
    return bytes([n]) if n < 128 else bytes([n % 128 + 128]) + _length(n // 128)


def test_graphs_too_deep():
    inner = branches(make("Neg", ["x"], ["z"]))
    leaf = inner
    for _ in range(26):
        inner = branches(make("If", ["c"], ["z"], then_branch=inner, else_branch=leaf))
    flag = onnx.numpy_helper.from_array(np.array(True), "c")
    model = graph_of([make("If", ["c"], ["y"], then_branch=inner, else_branch=leaf)], [flag])
    refused(model, match="graphs at most 24 deep")
    chain = b""
    for _ in range(5000):  # a graph in an attribute in a node in a graph, in bytes that no library makes
        for tag in (0x32, 0x2A, 0x0A):
            chain = bytes([tag]) + _length(len(chain)) + chain
    refused(b"\x3a" + _length(len(chain)) + chain, match="an ONNX file")


@pytest.mark.soak
def test_many_branches_are_read_in_time():
    """Each graph inside another sees the names of that one: copied each time, they would be hundreds of millions."""
    nodes, name = [], "x"
    for i in range(20000):
        inner = branches(make("Neg", [name], ["z"]))
        nodes.append(make("If", ["c"], [f"y{i}"], then_branch=inner, else_branch=inner))
        name = f"y{i}"
    flag = onnx.numpy_helper.from_array(np.array(True), "c")
    model = graph_of(nodes, [flag], outputs=(name,)).SerializeToString()
    start = time.perf_counter()
    px.load_onnx(model)
    assert time.perf_counter() - start < 20


def test_domains_and_versions():
    model = parsed("g (float[n] x) => (float[n] y) { y = far.Spin(x) }", domains=', "far" : 9')
    refused(model, match=r"far\.Spin")
    for version in (0, 6, 1 << 40, -3):
        model = graph_of([make("Neg", ["x"], ["y"])])
        model.opset_import[0].version = version
        refused(model, match="operators of version 7 to")


# --- arrays ---------------------------------------------------------------------------------------------------------


def with_array(**fields):
    array = onnx.TensorProto(name="w")
    for key, value in fields.items():
        if isinstance(value, list):
            getattr(array, key).extend(value)
        else:
            setattr(array, key, value)
    return graph_of([make("Add", ["x", "w"], ["y"])], [array])


@pytest.mark.parametrize(
    "fields",
    [
        {"data_type": FLOAT, "dims": [1 << 40], "raw_data": b"\0" * 8},
        {"data_type": FLOAT, "dims": [1 << 62, 1 << 62, 0]},
        {"data_type": FLOAT, "dims": [-2], "raw_data": b"\0" * 8},
        {"data_type": FLOAT, "dims": [1] * 1000, "raw_data": b"\0" * 4},
        {"data_type": FLOAT, "dims": [2], "float_data": [1.0]},
        {"data_type": FLOAT, "dims": [2], "int32_data": [1, 2]},
        {"data_type": 999, "dims": [2], "raw_data": b"\0" * 8},
        {"data_type": -1, "dims": [2], "raw_data": b"\0" * 8},
        {"data_type": onnx.TensorProto.STRING, "dims": [1 << 40], "string_data": [b"a"]},
        {"data_type": onnx.TensorProto.INT4, "dims": [1 << 40], "raw_data": b"\0"},
        {"data_type": onnx.TensorProto.COMPLEX64, "dims": [1 << 40], "float_data": [1.0, 2.0]},
        {"data_type": INT64, "dims": [1], "raw_data": b"\0" * 7},
    ],
)
def test_arrays_that_are_not_what_they_say(fields):
    refused(with_array(**fields))


def beside(count=1, dims=(2,), **told):
    arrays = []
    for i in range(count):
        array = onnx.TensorProto(name=f"w{i}", data_type=FLOAT, dims=dims, data_location=onnx.TensorProto.EXTERNAL)
        for key, value in told.items():
            array.external_data.add(key=key, value=str(value))
        arrays.append(array)
    return graph_of([make("Add", ["x", "w0"], ["y"])], arrays)


def test_no_way_leads_out_of_the_folder(tmp_path):
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    for place in (tmp_path, folder, folder / "below"):
        (place / "w.bin").write_bytes(b"\0" * 8)
    os.symlink(tmp_path / "w.bin", folder / "link")
    os.symlink(tmp_path, folder / "away")
    os.symlink("circle", folder / "circle")
    os.symlink("/dev/zero", folder / "zero")
    os.mkfifo(folder / "pipe")

    def load(location, **more):
        (folder / "m.onnx").write_bytes(beside(location=location, **more).SerializeToString())
        return px.load_onnx(folder / "m.onnx")

    for inside in ("w.bin", "below/w.bin", "./below/../w.bin"):
        assert load(inside).weights["w0"].tolist() == [0.0, 0.0]
    ways = ["../w.bin", "below/../../w.bin", str(tmp_path / "w.bin"), "/dev/zero", "link", "away/w.bin", "zero", "pipe"]
    for location in [
        *ways,
        "circle",
        "",
        ".",
        "..",
        "below",
        "no.bin",
        "w.bin\0",
        "long" * 2000,
        "file://w.bin",
        "~/w",
    ]:
        with pytest.raises(CorruptFileError, match=r"folder|beside the model") as caught:
            load(location)
        assert_told(caught.value)
    with pytest.raises(CorruptFileError, match="arrays inside the model"):
        px.load_onnx(beside(location="w.bin"))


def test_parts_beside_that_are_larger_than_memory(tmp_path):
    with open(tmp_path / "w.bin", "wb") as file:  # holes: no byte is written
        file.truncate(1 << 40)
    for count, size in ((1, 1 << 38), (4000, 1 << 24)):
        model = beside(count, (size,), location="w.bin")
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        refused(tmp_path / "m.onnx", match="arrays that memory holds together")


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    """The bytes of a small file that has a bit of all."""
    return parsed(
        """g (float[n, 2] x) => (float[n, 3] y, float[k] z) <float[2, 3] w = {1, 2, 3, 4, 5, 6}, bool c = {1}> {
        a = Gemm<transA = 0, alpha = 0.5>(x, w)  b = own.twice(a)  s = Shape(b)  t = Cast<to = 1>(s)
        y = If(c) <then_branch = p () => (float[n, 3] q) { q = Neg(b) }, else_branch = r () => (float[n, 3] q)
        { q = Softmax<axis = -1>(b) }>  z = Identity(t) }""",
        functions='<domain: "own", opset_import: ["" : 18]> twice (a) => (b) { b = Add(a, a) }',
    ).SerializeToString()


def loaded(text):
    """A model, or None where the bytes are refused in four parts; nothing else."""
    try:
        return px.load_onnx(text)
    except px.PhloxError as error:
        assert_told(error)
        return None


def test_files_cut_short(small):
    assert loaded(small) is not None
    found = [loaded(small[:end]) for end in range(0, len(small), 2)]
    assert sum(model is not None for model in found) < 6


def test_files_with_a_byte_changed(small):
    """What still loads either runs or is refused in four parts."""
    rng = np.random.default_rng(0)
    x = jax.ShapeDtypeStruct((4, 2), np.float32)
    ran = 0
    for _ in range(150):
        text = bytearray(small)
        text[rng.integers(len(text))] = rng.integers(256)
        model = loaded(bytes(text))
        if model is None:
            continue
        try:
            jax.eval_shape(lambda model, x: model(x), model, x)
            ran += 1
        except px.PhloxError as error:
            assert_told(error)
    assert ran > 8


def test_names_that_are_no_text(small):
    """Bytes that no text has, in the place of a name."""
    for name in (b"twice", b"Gemm", b"own", b"transA", b"Shape"):
        assert name in small
        refused(small.replace(name, b"\xff" * len(name)), match="names that are text")


def test_what_is_no_file(tmp_path):
    with open(tmp_path / "large.onnx", "wb") as file:
        file.truncate(1 << 42)
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "noise.onnx").write_bytes(np.random.default_rng(0).bytes(1000))
    (tmp_path / "folder.onnx").mkdir()
    for name in ("large", "pipe", "empty", "noise", "folder", "none"):
        with pytest.raises(px.PhloxError) as caught:
            px.load_onnx(tmp_path / f"{name}.onnx")
        assert_told(caught.value)
