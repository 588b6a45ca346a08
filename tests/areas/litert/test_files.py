"""LiteRT files in their own runtime: rows of the registry, and operations that are written otherwise."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ai_edge_litert import interpreter

import phlox as px
from areas.litert.exceptions import EXCEPTIONS
from interchange.exporting import assert_same, spec
from interchange.registry import BY_NAME, ROWS, Calling, Row
from phlox import nn, weights
from phlox.interchange._program import Program, Request
from phlox.interchange._proving import Truth
from phlox.interchange._sizes import Sizes
from phlox.interchange._spec import Spec
from phlox.interchange.litert import _loops
from phlox.interchange.targets._litert import LiteRT

FEW = [
    "Conv3d", "ConvTranspose2d", "EmbeddingBag", "GRU", "MultiHeadAttention", "conv-space", "cond", "while_loop",
    "scan", "half", "float16", "several-outputs",
]  # fmt: skip
HALF = {"half": 2e-2, "float16": 2e-3}


def fixed(row: Row) -> dict[str, Spec]:
    """A row's inputs at the first of its sizes."""
    return {name: spec(x).at(row.sizes[0]) for name, x in row.inputs.items()}


def program(model: Any, name: str, inputs: dict[str, Spec], call: Any = None) -> Program:
    """A signature of a file that holds several models."""
    request = Request(name, call or type(model).__call__, inputs)
    return Program(model, request, Sizes([], None, "the test"), "the test")


# --- what files compute -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A dozen rows as the signatures of one file."""
    folder = tmp_path_factory.mktemp("few")
    models = {name: BY_NAME[name].build() for name in FEW}
    programs = {n: program(model, n, fixed(BY_NAME[n]), BY_NAME[n].call) for n, model in models.items()}
    LiteRT().write(list(programs.values()), folder)
    return folder, models, programs


@pytest.mark.parametrize("name", FEW)
def test_gives_what_the_model_gives(few, name):
    folder, models, programs = few
    made, inputs = programs[name], BY_NAME[name].drawn()[0]
    found = LiteRT().opened(made, folder)(inputs)
    wanted = Truth(models[name], made.request, "the test")(inputs)
    assert_same(found, wanted, HALF.get(name, 1e-5))


@pytest.mark.soak
@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_gives_what_every_model_gives(row, tmp_path):
    several = {"signatures": {"row": (row.call, fixed(row))}} if row.call else {"inputs": fixed(row)}
    export = lambda: px.export(row.build(), tmp_path / "out", to="litert", examples=row.drawn()[0], **several)  # noqa: E731
    if row.name in EXCEPTIONS:
        with pytest.raises(px.ExportError, match=r"operations that LiteRT has.*complex"):
            export()
    else:
        assert export().error <= HALF.get(row.name, 1e-5)


def operators(folder, name: str) -> set[str]:
    """The operators of the first program of a file."""
    return {each["op_name"] for each in interpreter.Interpreter(str(folder / name))._get_ops_details()}


def test_long_loops_stay_loops(tmp_path, monkeypatch):
    model, inputs = nn.LSTM(3, 4, bidirectional=True, key=0), {"x": px.Spec(2, 9, 3)}
    short = px.export(model, tmp_path / "short", inputs=inputs, to="litert")
    monkeypatch.setattr(_loops, "LIMIT", 8 * 9)
    long = px.export(model, tmp_path / "long", inputs=inputs, to="litert")
    assert max(short.error, long.error) <= 1e-5
    assert long.rows[0].size < short.rows[0].size
    assert "WHILE" in operators(tmp_path / "long", "model.tflite")
    assert "WHILE" not in operators(tmp_path / "short", "model.tflite")


def _bits(i: Any, j: Any, n: Any) -> Any:
    r = jax.lax
    return {
        "and": i & j, "or": i | j, "xor": i ^ j, "not": ~i, "true": (i > 0) ^ (j > 0), "left": r.shift_left(i, n),
        "right": r.shift_right_arithmetic(i, n), "zeros": r.shift_right_logical(i, n), "rest": r.rem(i, j),
        "mod": i % j, "share": i // j, **_of_no_sign(i, j),
    }  # fmt: skip


def _of_no_sign(i: Any, j: Any) -> Any:
    a, b = i.astype("uint32"), j.astype("uint32")
    small = jnp.clip(i, 0, 255).astype("uint8"), jnp.clip(j, 0, 255).astype("uint8")
    return {
        "parts": jax.lax.div(a, b), "over": jax.lax.rem(a, b), "narrow": jax.lax.div(*small), "wraps": small[0] + 250,
        "sum": a + b * 3 - 1, "bits": (a & b) ^ (a | 7), "ends": jnp.maximum(a, b) - jnp.minimum(a, 5),
        "order": [a < b, a <= b, a > b, a >= b, a == b, a != b],
    }  # fmt: skip


def _rests(x: Any, y: Any) -> Any:
    halves = jnp.concatenate([x, y / 4, jnp.float32([0.49999997, -0.49999997, -1.5])])
    return {
        "root": jnp.cbrt(x * y), "rest": jax.lax.rem(x, y), "mod": x % y, "open": jnp.where(x > 0, x, -jnp.inf),
        "away": jax.lax.round(halves), "even": jnp.round(halves),
        "place": jnp.searchsorted(jnp.float32([-2, 0, 2, jnp.nan]), jnp.append(halves, jnp.nan)),
    }  # fmt: skip


def _order(x: Any, i: Any) -> Any:
    first, second, third = jax.lax.sort((i, x, jnp.arange(i.size).reshape(i.shape)), dimension=0, num_keys=2)
    return {"keys": first, "values": second, "places": third, "argsort": jnp.argsort(i, -1), "flags": jnp.sort(i > 0)}


def _complex(x: Any, y: Any) -> Any:
    z = jax.lax.complex(x, y)
    w = z * (1 - 2j) / (z + 3) - jnp.conj(z) ** 2
    first, second = jnp.split(jnp.tile(w, 2)[3:9], 2)
    turned = jax.lax.scan(lambda held, each: (held * each + 1, jnp.where(x[0] > 9, each, held)), z[0], z)[1]
    return {
        "real": w.real, "imaginary": w.imag, "size": jnp.abs(jnp.cumsum(jnp.exp(w / 9))),
        "wave": jnp.fft.rfft(x).imag, "level": jnp.abs(jnp.fft.rfft(y[:4])), "turned": turned.imag,
        "product": (jnp.stack([z, w]) @ z).imag,
        "parts": (first * jax.lax.square(second)).imag, "rows": sum(jnp.unstack(jnp.outer(z, w))).real,
    }  # fmt: skip


def test_operations_that_are_written_otherwise(tmp_path):
    """Bits, remainders and order, with the signs and ties that the runtime's own operators get wrong or lack."""
    edge = np.int32([0, 1, -1, 2, -2, 7, -8, 1 << 30, -(1 << 30), (1 << 31) - 1, -(1 << 31), 12345, -54321])
    i, j = (x.ravel() for x in np.meshgrid(edge, edge))
    n = np.resize(np.arange(-1, 34, dtype=np.int32), i.size)
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=(7, 5)), 1).astype("float32")
    signs = {"x": np.float32([5.5, -5.5, 5.5, -5.5]), "y": np.float32([2, 2, -2, -2])}
    cases = {
        "bits": (_bits, {"i": i, "j": j, "n": n}),
        "rests": (_rests, signs),
        "order": (_order, {"x": x, "i": rng.integers(-2, 2, (7, 5), dtype=np.int32)}),
        "complex": (_complex, {"x": x[:6, 0], "y": x[:6, 1]}),
    }
    made = {
        name: program(Calling(f), name, {k: Spec(*v.shape, dtype=v.dtype) for k, v in inputs.items()})
        for name, (f, inputs) in cases.items()
    }
    LiteRT().write(list(made.values()), tmp_path)
    for name, (f, inputs) in cases.items():
        found = LiteRT().opened(made[name], tmp_path)(inputs)
        for key, wanted in Truth(Calling(f), made[name].request, "the test")(inputs).items():
            near = 1e-5 if name == "complex" or key == "root" else 0
            assert found[key].dtype == wanted.dtype
            np.testing.assert_allclose(found[key], wanted, rtol=near, atol=near, err_msg=f"{name} {key}")


class Pair(px.Module):
    """A model with two functions that share most weights."""

    def __init__(self) -> None:
        self.inner, self.outer = px.Dense(64, 64, px.tanh, key=0), px.Dense(64, 3, key=1)

    def encode(self, x: jax.Array) -> jax.Array:
        return self.inner(x)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.outer(self.inner(x))


def test_signatures_are_in_one_file_which_has_shared_weights_once(tmp_path):
    model, x = Pair(), {"x": px.Spec("batch", 64)}
    report = px.export(
        model, tmp_path / "out", inputs=x, sizes={"batch": (2, 2)}, signatures={"encode": (model.encode, x)},
        to=["stablehlo", "litert"],
    )  # fmt: skip
    assert [row.file for row in report.rows if row.target == "LiteRT"] == ["model.tflite"] * 2
    assert report.error <= 1e-5
    assert report.files["model.tflite"] < 1.5 * 4 * 64 * 64
    given = np.random.default_rng(0).normal(size=(2, 64)).astype("float32")
    opened = interpreter.Interpreter(str(tmp_path / "out" / "model.tflite"))
    w, b = (np.asarray(a, np.float64) for a in (model.inner.weight, model.inner.bias))
    found = opened.get_signature_runner("encode")(x=given)["output"]
    np.testing.assert_allclose(found, np.tanh(given @ w + b), atol=1e-5)
    assert weights.read_bundle(tmp_path / "out").targets["litert"]["encode"].details["signature"] == "encode"
