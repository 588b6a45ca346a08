"""SavedModels that ``px.export`` writes: rows of the registry in TensorFlow, and as its servers load them."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf

import phlox as px
from interchange.exporting import assert_same, exported, other_sizes
from interchange.registry import BY_NAME, ROWS
from phlox import weights
from phlox.interchange._forms import put_together
from phlox.interchange.targets import _savedmodel

SHORT = (
    "Conv2d", "RNN", "MultiHeadAttention", "MixtureOfExperts", "cond", "while_loop", "scan", "sorting", "half",
    "several-outputs",
)  # fmt: skip
HALF = {"half": 2e-2, "float16": 2e-3}


class Shared:
    """A process that stays when a block ends."""

    def __init__(self, process):
        self._process = process

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __call__(self, *task):
        return self._process(*task)


@pytest.fixture(scope="module")
def one_process():
    """One process with TensorFlow for all rows: it takes seconds to start."""
    with _savedmodel.started() as process, pytest.MonkeyPatch.context() as patch:
        patch.setattr(_savedmodel, "started", lambda: Shared(process))
        yield process


def agrees(row, folder):
    """The file is proved when it is written; here it runs beside the model at sizes that the export has not seen."""
    model, tolerance = row.build(), HALF.get(row.name, 1e-5)
    assert exported(row, model, folder, "savedmodel").error <= tolerance
    sizes = other_sizes(row) if row.symbols() else row.sizes[0]
    inputs = {name: x.drawn(sizes, 70 + i) for i, (name, x) in enumerate(row.inputs.items())}
    [(name, told)] = weights.read_bundle(folder).signatures.items()
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    run = loaded.signatures["serving_default" if name == "default" else name]
    found = {n: x.numpy() for n, x in run(**{n: tf.constant(x) for n, x in inputs.items()}).items()}
    wanted = px.jit(row.function())(model, *inputs.values())
    assert_same(put_together(told.result, found), wanted, tolerance)


@pytest.mark.parametrize("name", SHORT)
def test_gives_what_the_model_gives(name, tmp_path, one_process):
    agrees(BY_NAME[name], tmp_path / "out")


@pytest.mark.soak
@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_gives_what_every_model_gives(row, tmp_path, one_process):
    agrees(row, tmp_path / "out")


class Pair(px.Module):
    def __init__(self):
        self.inner, self.outer = px.Dense(4, 2, px.tanh, key=0), px.Dense(2, 3, key=1)

    def encode(self, x):
        return self.inner(x)

    def __call__(self, x):
        return self.outer(self.encode(x))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    model, folder = Pair(), tmp_path_factory.mktemp("pair") / "out"
    x = {"x": px.Spec("batch", 4)}
    signatures = {"encode": (model.encode, x)}
    report = px.export(model, folder, inputs=x, signatures=signatures, to="savedmodel", sizes={"batch": (1, 8)})
    return model, folder, report


X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def by_hand(model, x):
    """Both signatures in NumPy, with more digits."""
    w1, b1, w2, b2 = (
        np.asarray(a, np.float64) for a in (model.inner.weight, model.inner.bias, model.outer.weight, model.outer.bias)
    )
    hidden = np.tanh(x @ w1 + b1)
    return {"serving_default": hidden @ w2 + b2, "encode": hidden}


@pytest.mark.parametrize("name", ["serving_default", "encode"])
def test_as_a_server_loads_it(pair, name):
    """By its tag, into a session, which is fed and read by the names of tensors that the signature says."""
    model, folder, _ = pair
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        told = tf.compat.v1.saved_model.load(session, ["serve"], str(folder / "saved_model")).signature_def[name]
        found = session.run(told.outputs["output"].name, {told.inputs["x"].name: X})
    assert told.method_name == "tensorflow/serving/predict"
    assert told.inputs["x"].dtype == tf.float32.as_datatype_enum
    assert [d.size for d in told.inputs["x"].tensor_shape.dim] == [-1, 4]
    np.testing.assert_allclose(found, by_hand(model, X)[name], rtol=1e-5, atol=1e-6)


CHILD = """
import sys
sys.modules.update(dict.fromkeys(("jax", "jaxlib", "phlox")))
import numpy as np, tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
x = tf.constant(np.load(sys.argv[2]))
np.savez(sys.argv[3], **{name: f(x=x)["output"].numpy() for name, f in loaded.signatures.items()})
"""


def test_a_process_without_jax_and_phlox(pair, tmp_path):
    model, folder, _ = pair
    np.save(tmp_path / "x.npy", X)
    paths = [str(folder / "saved_model"), str(tmp_path / "x.npy"), str(tmp_path / "y.npz")]
    done = subprocess.run([sys.executable, "-P", "-c", CHILD, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "y.npz") as found:
        for name, wanted in by_hand(model, X).items():
            np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-6)


def test_weights_are_variables_once_and_the_program_reads_them(pair):
    model, folder, _ = pair
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    assert {n: x.shape for n, x in loaded.weights.items()} == {n: x.shape for n, x in px.state_dict(model).items()}
    np.testing.assert_array_equal(loaded.weights["inner.weight"].numpy(), model.inner.weight)
    before = loaded.signatures["serving_default"](x=tf.constant(X))["output"].numpy()
    loaded.weights["outer.bias"].assign_add([1.0, 2.0, 3.0])
    after = loaded.signatures["serving_default"](x=tf.constant(X))["output"].numpy()
    np.testing.assert_allclose(after - before, np.tile([1.0, 2.0, 3.0], (5, 1)), rtol=1e-5)


def test_a_size_beyond_its_bounds_is_refused_there_too(pair):
    loaded = tf.saved_model.load(str(pair[1] / "saved_model"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="batch <= 8"):
        loaded.signatures["serving_default"](x=tf.ones((9, 4)))


def test_no_line_of_whose_file_is_in_it(pair):
    assert b".py" not in (pair[1] / "saved_model" / "saved_model.pb").read_bytes()


def centred(image):
    return (image.astype(jnp.float32) - 127.5) / 127.5


def best(scores):
    return {"class": jnp.argmax(scores, -1), "scores": px.softmax(scores)}


def test_pre_and_postprocessing_are_in_the_file(tmp_path, one_process):
    model = px.Chain(px.Dense(4, 8, px.tanh, key=0), px.Dropout(0.5, key=1), px.Dense(8, 3, key=2))
    image = {"image": px.Spec("batch", 4, dtype="uint8", below=256)}
    px.export(model, tmp_path / "out", inputs=image, to="savedmodel", preprocess=centred, postprocess=best)
    loaded = tf.saved_model.load(str(tmp_path / "out" / "saved_model"))
    x = np.random.default_rng(0).integers(0, 256, (5, 4)).astype(np.uint8)
    found = loaded.signatures["serving_default"](image=tf.constant(x))
    w1, b1, w2, b2 = (
        np.asarray(a, np.float64) for a in (model[0].weight, model[0].bias, model[2].weight, model[2].bias)
    )
    powers = np.exp(np.tanh((x / 127.5 - 1) @ w1 + b1) @ w2 + b2)
    np.testing.assert_allclose(found["scores"], powers / powers.sum(-1, keepdims=True), rtol=1e-5)
    np.testing.assert_array_equal(found["class"], powers.argmax(-1))


def test_a_key_that_is_an_input(tmp_path, one_process):
    model = px.Chain(px.Dense(4, 4, key=1), px.trainmode(px.Dropout(0.5, key=0)))
    px.export(model, tmp_path / "out", inputs={"x": px.Spec("batch", 4), "key": px.Spec(dtype="key")}, to="savedmodel")
    loaded, key = tf.saved_model.load(str(tmp_path / "out" / "saved_model")), jax.random.key(3)
    words = tf.constant(np.asarray(jax.random.key_data(key)))
    found = loaded.signatures["serving_default"](x=tf.constant(X), key=words)["output"]
    model[1].key = jax.random.fold_in(key, 0)
    np.testing.assert_allclose(found, model(X), rtol=1e-5, atol=1e-6)


def test_names_keep_their_capitals(tmp_path, one_process):
    inputs = {"Image": px.Spec("batch", 4), "IDs": px.Spec("batch", 4)}
    call = lambda model, image, ids: {"Sum": model(image) + ids, "sum": ids}  # noqa: E731
    px.export(px.Dense(4, 4, key=0), tmp_path / "out", signatures={"Both": (call, inputs)}, to="savedmodel")
    told = tf.saved_model.load(str(tmp_path / "out" / "saved_model")).signatures["Both"]
    found = told(Image=tf.constant(X), IDs=tf.ones((5, 4)))
    assert (set(told.structured_input_signature[1]), set(found)) == (set(inputs), {"Sum", "sum"})
    np.testing.assert_array_equal(found["sum"], np.ones((5, 4)))


class Altering(Shared):
    """It adds one to a bias on its way."""

    def __call__(self, what, told, arrays):
        return super().__call__(what, told, {n: x + (n == "weights/layers.1.bias") for n, x in arrays.items()})


def test_the_layer_at_which_a_difference_begins(tmp_path, one_process, monkeypatch):
    model = px.Chain(px.Dense(4, 8, key=0), px.Dense(8, 6, px.gelu, key=1), px.Dense(6, 2, px.tanh, key=2))
    monkeypatch.setattr(_savedmodel, "started", lambda: Altering(one_process))
    with pytest.raises(
        px.ExportError, match=r"got a difference of \S+, which begins at layers\.1, Dense\(8 → 6, gelu\)"
    ):
        px.export(model, tmp_path / "out", inputs={"x": px.Spec("batch", 4)}, to="savedmodel")
    assert not (tmp_path / "out").exists()
