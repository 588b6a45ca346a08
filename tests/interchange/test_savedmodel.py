"""SavedModel without TensorFlow: a stand-in writes down what it is told; with TensorFlow, see the area's tests."""

import dataclasses
import io
import json
import os
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import phlox as px
from phlox import weights
from phlox.interchange.targets import _savedmodel, _tensorflow
from phlox.interchange.targets._apart import Apart, ApartError
from phlox.interchange.targets._older import for_older_readers

STAND_IN = '''
"""TensorFlow as far as a Dense layer needs it; what it does otherwise is in the environment."""
import json, os, sys, types
from pathlib import Path
import numpy as np

__version__ = "0.0"
DOES = os.environ["DOES"]

class Module: pass
class Result(np.ndarray): numpy = lambda self: np.asarray(self)
class TensorSpec:
    def __init__(self, shape, dtype, name): self.told = [name, shape, dtype]

constant = lambda x: x

class Variable:
    def __init__(self, x, trainable, name): self.x, self.trainable, self.name = x, trainable, name

class function:
    def __init__(self, call, autograph, input_signature): self.call, self.taken = call, input_signature
    def get_concrete_function(self): return self

def call_module(args, *, module, **told):
    weights = [a.name for a in args if isinstance(a, Variable)]
    return [json.dumps({"weights": weights, "module": module[:4].hex(), **told})] * len(told["Tout"])

xla = types.ModuleType("xla")
xla.call_module, xla.call_module_maximum_supported_version = call_module, lambda: 1 if DOES == "is old" else 99
sys.modules["tensorflow.compiler.tf2xla.python.xla"] = xla

class saved_model:
    def save(holder, folder, signatures):
        if DOES == "raises": raise ValueError("no room")
        if DOES == "falls": print("last words", flush=True); os._exit(3)
        Path(folder, "variables").mkdir(parents=True)
        np.savez(Path(folder, "variables", "all.npz"), **{n: v.x for n, v in holder.weights.items()})
        said = {k: {"in": [s.told for s in f.taken], "out": f.call(*f.taken)} for k, f in signatures.items()}
        said["environment"] = {n: os.environ.get(n) for n in ("CUDA_VISIBLE_DEVICES", "XLA_FLAGS")}
        said["kept out"] = [n for n in ("jax", "phlox") if sys.modules.get(n, n) is None]
        Path(folder, "saved_model.pb").write_text(json.dumps(said))
    def load(folder):
        said = json.loads(Path(folder, "saved_model.pb").read_text())
        held = dict(np.load(Path(folder, "variables", "all.npz")))
        def run(names, x):
            if DOES == "falls later": os._exit(4)
            y = x @ held["weight"] + held["bias"] + (DOES == "errs")
            return {name: y.view(Result) for name in names}
        loaded = types.SimpleNamespace(signatures={})
        for key, one in said.items():
            if "out" in one: loaded.signatures[key] = lambda x, one=one: run(one["out"], x)
        return loaded
'''


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """The stand-in for processes that are started here; ``stand_in("falls")`` says what it does."""
    (tmp_path / "packages" / "tensorflow").mkdir(parents=True)
    (tmp_path / "packages" / "tensorflow" / "__init__.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", "") + " ")
    monkeypatch.setenv("DOES", "well")
    return lambda does: monkeypatch.setenv("DOES", does)


def dense():
    return px.Dense(4, 2, key=0)


def called(model, x):
    return {"y": model(x)}


X = {"x": px.Spec("batch", 4)}


def test_what_tensorflow_is_told(stand_in, tmp_path):
    model, folder = dense(), tmp_path / "out"
    report = px.export(model, folder, inputs=X, signatures={"called": (called, X)}, to="savedmodel")
    assert [(r.file, r.target, r.error <= 1e-5) for r in report.rows] == [
        ("saved_model/saved_model.pb", "TensorFlow", True)
    ] * 2
    assert "saved_model.pb (called)" in str(report)
    said = json.loads((folder / "saved_model" / "saved_model.pb").read_text())
    assert said["environment"] == {"CUDA_VISIBLE_DEVICES": "-1", "XLA_FLAGS": None}
    assert said["kept out"] == ["jax", "phlox"]
    assert said["serving_default"]["in"] == [["x", [None, 4], "float32"]]
    assert list(said["called"]["out"]) == ["y"]
    [(name, call)] = said["serving_default"]["out"].items()
    call = json.loads(call)
    assert (name, call["Sout"], call["Tout"]) == ("output", [[None, 2]], ["float32"])
    assert sorted(call["weights"]) == ["bias", "weight"]
    assert call["platforms"] == ["CPU", "CUDA", "TPU"]
    assert bytes.fromhex(call["module"]) == b"ML\xefR"  # what MLIR's bytecode begins with
    bundle = weights.read_bundle(folder)
    assert bundle.targets["savedmodel"]["default"].details["signature"] == "serving_default"
    assert report.files.keys() == {*bundle.files, "bundle.json"}
    assert bundle.files.keys() >= {"saved_model/saved_model.pb", "saved_model/variables/all.npz"}


FAILURES = {
    "raises": r"a program that TensorFlow takes, got ValueError: no room\n  fix: nothing was written",
    "falls": r"a program that TensorFlow takes, got its process ended with status 3: last words\n  fix: ",
    "is old": r"takes, got ValueError: TensorFlow 0\.0 takes calling conventions to 1, JAX wrote \d+\n  fix: ",
    "falls later": r"saved_model/saved_model\.pb to run in TensorFlow, got ApartError: its process ended with status 4",
    "errs": r"to give what the model gives, to 1e-05, got a difference of \S+, which begins at the model itself, Dense",
}


@pytest.mark.parametrize("does", FAILURES)
def test_failures_leave_nothing_behind(does, stand_in, tmp_path):
    stand_in(does)
    (tmp_path / "bundles").mkdir()
    with pytest.raises(px.ExportError, match=FAILURES[does]):
        px.export(dense(), tmp_path / "bundles" / "out", inputs=X, to="savedmodel")
    assert os.listdir(tmp_path / "bundles") == []


def test_two_signatures_of_one_name(stand_in, tmp_path):
    (tmp_path / "bundles").mkdir()
    with pytest.raises(px.OptionError, match=r"signatures of different names, got 'serving_default' twice\n  fix: "):
        px.export(
            dense(),
            tmp_path / "bundles" / "out",
            inputs=X,
            signatures={"serving_default": (called, X)},
            to="savedmodel",
        )
    assert os.listdir(tmp_path / "bundles") == []


class Whitening(px.Module):
    def __init__(self):
        self.inner = Triangle()

    def __call__(self, x):
        return x + self.inner(x)


class Triangle(px.Module):
    def __call__(self, x):
        return jnp.linalg.cholesky(x @ x.mT + jnp.eye(2))


class Narrow(px.Module):
    def __init__(self):
        self.scale = jnp.array([1, -3], jnp.int4)

    def __call__(self, x):
        return x * self.scale.astype(jnp.float32)


REFUSED = {
    "LAPACK": (
        Whitening,
        ["x"],
        r"has, got cholesky at inner, for which JAX calls lapack_spotrf_ffi of LAPACK\n  fix: ",
    ),
    "capitals": (Triangle, ["X", "x"], r"differ by more than capitals, got X, x\n  fix: name them otherwise: "),
    "4 bits": (Narrow, ["x"], r"numbers of 8 bits and more for TensorFlow, got int4 scale\n  fix: store it in 8 bits"),
    "MLIR": (dense, ["x"], r"a program that TensorFlow takes, got ValueError: failed to serialize\n  fix: nothing was"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_programs_that_never_reach_tensorflow(what, stand_in, tmp_path, monkeypatch):
    def serialize(made):
        raise ValueError("failed to serialize")

    build, names, text = REFUSED[what]
    size = 4 if what == "MLIR" else 2
    call = (lambda model, X, x: model(X - x)) if len(names) == 2 else (lambda model, x: model(x))
    inputs = dict.fromkeys(names, px.Spec(size, size))
    if what == "MLIR":
        monkeypatch.setattr(_savedmodel, "for_older_readers", serialize)
    (tmp_path / "bundles").mkdir()
    with pytest.raises(px.PhloxError, match=text):
        px.export(build(), tmp_path / "bundles" / "out", signatures={"f": (call, inputs)}, to="savedmodel")
    assert os.listdir(tmp_path / "bundles") == []


def test_errors_of_tensorflow_without_the_traces_that_it_does_not_have():
    error = ValueError(
        "Graph execution error:\n\nDetected at node f defined at\n<stack traces unavailable>\nno handler"
    )
    assert _tensorflow._words(error) == "no handler"


def test_without_tensorflow(monkeypatch, tmp_path):
    monkeypatch.setattr(_savedmodel.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(px.MissingExtraError, match=r'tensorflow.*\n  fix: pip install "phlox\[savedmodel\]"'):
        px.export(dense(), tmp_path / "out", inputs=X, to="savedmodel")
    assert os.listdir(tmp_path) == []


def test_a_process_ends_with_its_block():
    script = Path(_tensorflow.__file__)
    with Apart(script) as process:
        with pytest.raises(ApartError, match=r"AttributeError|ModuleNotFoundError"):
            process("nothing", {}, {})
        child = process._process
    assert child.poll() is not None


def test_a_message_holds_any_dtype():
    arrays = {
        "a/b": np.array([[1.5, -2.0]], ml_dtypes.bfloat16),
        "one": np.float32(3.0) * np.ones(()),
        "none": np.zeros((0, 3), np.int64),
        "true": np.array([True, False]),
        "turned": np.arange(6, dtype=np.uint8).reshape(2, 3).T,
    }
    stream = io.BytesIO()
    _tensorflow.send(stream, {"do": "it"}, arrays)
    whole = stream.getvalue()
    said, found = _tensorflow.receive(io.BytesIO(whole))
    assert said == {"do": "it"}
    for name, x in arrays.items():
        assert (found[name].dtype, found[name].shape) == (x.dtype, x.shape)
        np.testing.assert_array_equal(found[name], x)
    assert _tensorflow.receive(io.BytesIO(whole[:-1])) is None
    assert _tensorflow.receive(io.BytesIO()) is None


def test_a_program_for_older_readers_calls_what_they_do_not_have():
    [batch] = jax.export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, 5), jnp.float32)
    made = jax.export.export(jax.jit(lambda x: jax.lax.top_k(x, 2)))(shape)
    assert "stablehlo.composite" in made.mlir_module()
    older = for_older_readers(made)
    assert b"StableHLO_v1.13.7" in older or jax.__version__ != "0.10.2"
    again = dataclasses.replace(made, mlir_module_serialized=older)
    assert "stablehlo.composite" not in again.mlir_module()
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    values, places = again.call(x)
    np.testing.assert_array_equal(values, np.sort(x, -1)[:, :-3:-1])
    np.testing.assert_array_equal(places, np.argsort(-x, -1)[:, :2])
