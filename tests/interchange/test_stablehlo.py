"""StableHLO of every row of the registry, read back without the model's code; a dozen of them in the short suite."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from interchange.exporting import assert_same, exported, other_sizes
from interchange.registry import BY_NAME, ROWS
from kit import oracle

oracle("flatbuffers")

SHORT = (
    "Conv1d", "RNN", "MultiHeadAttention", "cond", "while_loop", "scan", "indexing",
    "several-outputs",
)  # fmt: skip
HALF = {"half": 2e-2, "float16": 2e-3}


@pytest.mark.parametrize("name", SHORT)
def test_gives_what_the_model_gives(name, tmp_path):
    """The file is proved when it is written; here it is read back, and run beside the model once more."""
    row = BY_NAME[name]
    model, tolerance = row.build(), HALF.get(name, 1e-5)
    assert exported(row, model, tmp_path / "out").error <= tolerance
    again = px.load_exported(tmp_path / "out")
    inputs = row.drawn()[0]
    assert_same(again(**inputs), px.jit(row.function())(model, *inputs.values()), tolerance)


@pytest.mark.soak
@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_gives_what_every_model_gives(row, tmp_path):
    """At sizes that the export has not seen, too."""
    model, folder = row.build(), tmp_path / "out"
    report = exported(row, model, folder)
    tolerance = HALF.get(row.name, 1e-5)
    assert report.error <= tolerance
    sizes = other_sizes(row) if row.symbols() else row.sizes[0]
    inputs = [x.drawn(sizes, 70 + i) for i, x in enumerate(row.inputs.values())]
    again = px.load_exported(folder)
    found = px.jit(lambda again, inputs: again(*inputs))(again, inputs)
    call = row.function()
    wanted = px.jit(lambda model, inputs: call(model, *inputs))(model, inputs)
    assert_same(found, wanted, tolerance)


CHILD = """
import sys, numpy as np, phlox as px
exported = px.load_exported(sys.argv[1])
x = np.load(sys.argv[2])
np.savez(sys.argv[3], y=exported(x), slope=px.grad(lambda x: (exported(x) ** 2).sum())(x))
assert "gone" not in sys.modules and "phlox.models" not in sys.modules
"""


def test_a_process_without_the_model_s_code(tmp_path, monkeypatch):
    (tmp_path / "gone.py").write_text(
        "import phlox as px\n"
        "class Net(px.Module):\n"
        "    def __init__(self):\n"
        "        self.one, self.two = px.Dense(3, 8, px.tanh, key=0), px.Dense(8, 2, key=1)\n"
        "    def __call__(self, x):\n"
        "        return self.two(self.one(x))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import gone

    net = gone.Net()
    monkeypatch.delitem(sys.modules, "gone")
    out, x = tmp_path / "out", np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    px.export(net, out, inputs={"x": px.Spec("batch", 3)})
    (tmp_path / "gone.py").unlink()
    np.save(tmp_path / "x.npy", x)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(px.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-W", "error", "-c", CHILD, str(out), str(tmp_path / "x.npy"), str(tmp_path / "y.npz")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    w1, b1, w2, b2 = (np.asarray(a, np.float64) for a in (net.one.weight, net.one.bias, net.two.weight, net.two.bias))
    hidden = np.tanh(x @ w1 + b1)
    y = hidden @ w2 + b2
    slope = ((2 * y) @ w2.T * (1 - hidden**2)) @ w1.T
    with np.load(tmp_path / "y.npz") as found:
        np.testing.assert_allclose(found["y"], y, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["slope"], slope, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    model = px.Dense(3, 2, px.tanh, key=0)
    folder = tmp_path_factory.mktemp("dense") / "out"
    inputs = {"x": px.Spec("batch", 3), "scale": px.Spec("batch")}
    report = px.export(model, folder, signatures={"scaled": (scaled, inputs)}, sizes={"batch": (1, 8)}, name="dense")
    return model, folder, report


def scaled(model, x, scale):
    return {"y": model(x) * scale[:, None], "constant": 3}


def test_gradients_by_inputs_and_by_weights(dense):
    model, folder, _ = dense
    again = px.load_exported(folder)
    x, scale = jnp.array([[0.1, -0.4, 0.3], [1.0, 0.2, -0.2]]), jnp.array([2.0, -1.0])
    loss = lambda m, x: (m(x, scale)["y"] ** 2).sum()  # noqa: E731
    theirs = lambda m, x: ((m(x) * scale[:, None]) ** 2).sum()  # noqa: E731
    np.testing.assert_allclose(
        jax.grad(lambda x: loss(again, x))(x), jax.grad(lambda x: theirs(model, x))(x), rtol=1e-5
    )
    grads, wanted = px.grad(loss)(again, x), px.grad(theirs)(model, x)
    np.testing.assert_allclose(grads.weights["weight"], wanted.weight, rtol=1e-5)
    assert again(x, scale)["constant"] == 3


@pytest.mark.parametrize(
    ("inputs", "named", "error", "text"),
    [
        (
            (np.ones((2, 3), "f4"),),
            {},
            px.OptionError,
            r"again Exported\('dense', scaled\) expects inputs x float32\[batch, 3\], scale .*, got 1 in order",
        ),
        ((np.ones((2, 3), "f4"),), {"size": 1}, px.OptionError, "there is no size"),
        (
            (np.ones((2, 4), "f4"), np.ones(2, "f4")),
            {},
            px.ShapeError,
            r"expects x float32\[batch, 3\], got float32\[2, 4\]",
        ),
        ((np.ones(3, "f4"), np.ones(2, "f4")), {}, px.ShapeError, r"got float32\[3\]\n  fix: add the axes"),
        ((np.ones((2, 3), "f4"), np.ones(4, "f4")), {}, px.ShapeError, r"got float32\[4\] beside batch=2 in x"),
        ((np.ones((9, 3), "f4"), np.ones(9, "f4")), {}, px.RangeError, "expects batch from 1 to 8, got 9 in x"),
        ((jnp.ones((2, 3), jnp.bfloat16), np.ones(2, "f4")), {}, px.DtypeError, r"got bfloat16\[2, 3\]"),
        ((np.ones((2, 3), int), np.ones(2, "f4")), {}, px.DtypeError, r"got int64\[2, 3\]"),
    ],
)
def test_what_a_loaded_function_refuses(dense, inputs, named, error, text):
    again = px.load_exported(dense[1])
    with pytest.raises(error, match=text):
        again(*inputs, **named)


def test_wide_numbers_of_the_host_are_taken_by_value(dense):
    model, folder, _ = dense
    again = px.load_exported(folder)
    found = again([[0.5, 1.0, 2.0]], scale=[1.0])["y"]
    np.testing.assert_allclose(found, model(jnp.array([[0.5, 1.0, 2.0]])), rtol=1e-6)
    with pytest.raises(px.RangeError, match="expects a signature among scaled, got 'encode'"):
        again["encode"]


def test_an_older_form_of_program_says_how_it_is_made_anew(dense, monkeypatch):
    monkeypatch.setattr(jax.export, "minimum_supported_calling_convention_version", 99)
    with pytest.raises(
        px.ExportError, match=r"calling convention 99 to .* got version \d+\n  fix: .*phlox export .* --refresh"
    ):
        px.load_exported(dense[1])


def test_no_kernel_of_this_machine_is_in_the_file(tmp_path):
    model = px.Chain(px.Conv((3, 3), 4, 8, px.relu, padding=1, key=0), px.MaxPool((2, 2)), px.BatchNorm(8))
    px.export(model, tmp_path / "out", inputs={"x": px.Spec(1, 4, 4, 4)})
    program = px.load_exported(tmp_path / "out").held.programs["default"]
    text = program.mlir_module()
    assert "stablehlo.convolution" in text
    assert "custom_call" not in text
    assert ".py" not in text  # nor a line of whose file it comes from
    assert program.platforms == ("cpu", "cuda", "tpu")
