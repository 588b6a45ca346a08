"""Models in ONNX Runtime: names, shared weights, what is refused; and the registry of what is exported."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from interchange.onnx_kit import Program, Shape, agree, agree_on, session, structs
from interchange.registry import BY_NAME, ROWS, Input
from kit import oracle
from phlox.interchange.onnx import convert, to_onnx

onnx = oracle("onnx")
F32 = np.dtype("float32")

FEW = ["BatchNorm", "MultiHeadAttention", "resnet", "conv-space", "lstm-both-ways"]
"""Rows that the suite converts; all of them take minutes."""

UNSUPPORTED: dict[str, str] = {}
"""Rows that ONNX has no form for, and what the error says."""


@pytest.mark.parametrize("name", FEW)
def test_models(name):
    agree_on(BY_NAME[name])


@pytest.mark.soak
@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_every_row_of_the_registry(row):
    if row.name in UNSUPPORTED:
        with pytest.raises(px.ExportError, match=UNSUPPORTED[row.name]):
            agree_on(row)
    else:
        agree_on(row)


class Tied(px.Module):
    """A layer used twice, a transposed use of a weight, and a layer that nobody calls."""

    def __init__(self) -> None:
        self.first = px.Dense(4, 4, px.tanh, key=0)
        self.blocks = [self.first, px.Chain(px.Dense(4, 4, key=1), px.Dropout(0.5, key=2))]
        self.idle = px.Dense(4, 4, key=3)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.blocks[1](self.blocks[0](self.first(x)))
        return y @ self.first.weight.T


def test_weights_and_nodes_are_called_by_their_paths_and_shared_ones_are_once():
    model = Tied()
    made = to_onnx(model, {"x": Shape(("batch", 4), F32)})
    held = {t.name: t for t in made.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    weights = {"first.weight", "first.bias", "blocks.1.layers.0.weight", "blocks.1.layers.0.bias"}
    assert weights == {n for n in held if not n.startswith("constant")}
    for name, value in px.split(model)[0].items():
        if name in held:
            np.testing.assert_array_equal(onnx.numpy_helper.to_array(held[name]), value)
    layers = [n.name.partition("/")[0] for n in made.graph.node if n.op_type == "MatMul"]
    assert layers == ["first", "first", "blocks.1.layers.0", "MatMul"]  # the last is the model's own
    assert made.graph.output[0].name == "output"
    assert [d.dim_param or d.dim_value for d in made.graph.input[0].type.tensor_type.shape.dim] == ["batch", 4]


def test_a_state_is_in_its_inference_form():
    model = px.Chain(px.Dense(3, 3, key=0), px.BatchNorm(3))
    model.layers[1].mean, model.layers[1].var = jnp.array([1.0, 2.0, 3.0]), jnp.array([4.0, 1.0, 0.5])
    made = to_onnx(model, {"x": Shape(("batch", 3), F32)})
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    dense = x @ np.asarray(model.layers[0].weight) + np.asarray(model.layers[0].bias)
    want = (dense - [1, 2, 3]) / np.sqrt(np.array([4, 1, 0.5]) + 1e-5)
    np.testing.assert_allclose(session(made).run(None, {"x": x})[0], want, rtol=1e-5, atol=1e-5)


def test_sizes_that_are_computed():
    def f(x, y):
        b, t, s = x.shape[0], x.shape[1], y.shape[0]
        return {
            "half": jnp.ones((t // 2 + 1, b)),
            "left": jnp.arange(t % 3 + 1),
            "most": jnp.zeros((jax.core.max_dim(t, s), 1)),
            "square": jnp.broadcast_to(x[None], (t * t, *x.shape)),
            "less": x[:, : t - 1],
            "share": x.sum() / (b * t - 2 * s),
        }

    sizes = ({"b": 2, "t": 4, "s": 7}, {"b": 3, "t": 9, "s": 2})
    made = agree(f, {"x": Input(("b", "t")), "y": Input(("s",))}, sizes)
    assert sum(n.op_type == "Shape" for n in made.graph.node) == 3  # each symbol is read once


def test_newer_operators():
    f = lambda x: (jnp.max(x, 0), jnp.fft.rfft(x).real, jnp.pad(x, 1))  # noqa: E731
    for opset in (18, 20, 21):
        made = agree(f, {"x": Input(("batch", 6))}, opset=opset)
        assert made.opset_import[0].version == opset
        assert made.ir_version == onnx.helper.find_min_ir_version_for(made.opset_import)


def test_outputs_are_named_by_their_keys():
    f = lambda x: {"b": x, "a": (x + 1, [x * 2])}  # noqa: E731
    made = to_onnx(Program(f), {"x": Shape((2,), F32)})
    assert [o.name for o in made.graph.output] == ["a.0", "a.1.0", "b"]
    made = to_onnx(Program(lambda x: (x, x)), {"x": Shape((2,), F32)}, outputs=["y", "z"])
    assert [o.name for o in made.graph.output] == ["y", "z"]
    assert [o.name for o in to_onnx(Program(lambda x: (x, x)), {"x": Shape((2,), F32)}).graph.output] == [
        "output_0",
        "output_1",
    ]


def test_a_program_of_one_s_own():
    w = jnp.arange(6.0).reshape(3, 2)
    jaxpr = jax.make_jaxpr(lambda w, x: x @ w)(w, jnp.ones((5, 3)))
    made = convert(jaxpr, weights={"matrix": w}, inputs=["x"], outputs=["y"])
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    np.testing.assert_allclose(session(made).run(["y"], {"x": x})[0], x @ np.asarray(w), rtol=1e-6)


class Drawing(px.Module):
    """A layer that draws in inference too."""

    def __init__(self) -> None:
        self.key: px.State = jax.random.key(0)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + jax.random.normal(self.key, (4,))


class Odd(px.Module):
    """A layer with a function of one's own."""

    def __init__(self, f) -> None:
        self.f = f

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.f(x)


@pytest.mark.parametrize(
    ("f", "operation", "fix"),
    [
        (lambda x: jax.lax.erf_inv(x), "erf_inv: a special function", "approximation"),
        (lambda x: jnp.linalg.cholesky(x.T @ x), "cholesky: a decomposition", "beforehand"),
        (lambda x: jax.pure_callback(np.sin, x, x), "pure_callback: a call into Python", "leave it out"),
        (lambda x: jax.lax.bitcast_convert_type(x, "int32"), "bitcast_convert_type: the bits", "arithmetic"),
    ],
)
def test_what_onnx_has_no_form_for_names_the_layer_and_the_operation(f, operation, fix):
    model = px.Chain(px.Dense(4, 4, key=0), px.Chain(Odd(f)))
    with pytest.raises(px.ExportError) as caught:
        to_onnx(model, {"x": Shape((3, 4), F32)})
    text = str(caught.value)
    assert text.startswith(f"Chain.layers.1.layers.0 expects operations that ONNX can express, got {operation}"), text
    assert fix in text.split("fix: ")[1]


def test_a_model_that_draws_is_refused():
    with pytest.raises(
        px.ExportError, match=r"Chain\.layers\.1 expects .* a draw of random numbers\n  fix: give the model"
    ):
        to_onnx(px.Chain(px.Dense(4, 4, key=0), Drawing()), {"x": Shape((3, 4), F32)})


def test_wrong_requests():
    model, x = px.Dense(4, 2, key=0), {"x": Shape(("batch", 4), F32)}
    with pytest.raises(px.RangeError, match="an opset of 18 or more, got 17"):
        to_onnx(model, x, opset=17)
    with pytest.raises(px.ShapeError, match="a name for each of 1 inputs and 1 outputs, got 1 and 2"):
        to_onnx(model, x, outputs=["a", "b"])
    with pytest.raises(px.ShapeError, match="a name of its own for each input and output, got x twice"):
        to_onnx(model, x, outputs=["x"])
    with pytest.raises(px.ExportError, match="outputs of real arrays, got complex64"):
        to_onnx(Program(lambda x: jnp.fft.fft(x)), {"x": Shape((4,), F32)})
    doubled = {"x": jax.ShapeDtypeStruct((2 * jax.export.symbolic_shape("n")[0],), F32)}
    with pytest.raises(px.ExportError, match="the size n to be a size of some input"):
        to_onnx(Program(lambda x: jnp.zeros(x.shape)), doubled)
    with pytest.raises(px.ShapeError, match=r"Dense"):
        to_onnx(model, {"x": Shape(("batch", 5), F32)})


def test_structs_are_what_callers_write():
    assert structs({"x": Input((2, "n"))})["x"].shape == (2, "n")
