"""px.export: what it writes, what it refuses, and that nothing is half-written."""

import os
import resource
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import weights
from phlox.interchange import About, Encoder
from phlox.interchange.targets import _target
from phlox.interchange.targets._stablehlo import StableHLO

oracle("flatbuffers")

X = {"x": px.Spec(2, 4)}  # of one size, where the size is not the point: it compiles half as long


def mlp():
    return px.Chain(px.Dense(4, 8, px.relu, key=0), px.Dense(8, 8, px.tanh, key=1), px.Dense(8, 2, key=2))


def centred(image):
    return (image.astype(jnp.float32) - 127.5) / 127.5


def noise(key):
    return jax.random.bits(key, (2, 4)).astype(jnp.float32) / 2.0**32


def best(scores):
    return {"class": jnp.argmax(scores, -1), "scores": jax.nn.softmax(scores, -1)}


# --- what is written --------------------------------------------------------------------------------


def test_pre_and_postprocessing_are_in_the_file(tmp_path):
    model = mlp()
    about = About(
        classes=["no", "yes"], preprocessing={"mean": 127.5}, statistics={"rows": 7}, data="digits-1", card="For tests."
    )
    image = {"image": px.Spec("batch", 4, dtype="uint8", below=256)}
    report = px.export(
        model, tmp_path / "out", inputs=image, preprocess=centred, postprocess=best, about=about, name="net"
    )
    x = np.random.default_rng(0).integers(0, 256, (5, 4)).astype(np.uint8)
    found = px.load_exported(tmp_path / "out")(x)
    scores = model((jnp.asarray(x, jnp.float32) - 127.5) / 127.5)
    np.testing.assert_array_equal(found["class"], np.argmax(scores, -1))
    np.testing.assert_allclose(found["scores"], jax.nn.softmax(scores), rtol=1e-5)
    bundle = weights.read_bundle(tmp_path / "out")
    assert (bundle.name, bundle.classes, bundle.preprocessing["mean"]) == ("net", ("no", "yes"), 127.5)
    assert bundle.statistics() == {"rows": 7}
    assert bundle.provenance["data"] == "digits-1"
    assert bundle.provenance["environment"]["jax"] == jax.__version__
    assert (
        str(bundle.signatures["default"]) == "(image uint8[batch, 4]) → (class int32[batch], scores float32[batch, 2])"
    )
    assert "For tests." in (tmp_path / "out" / "card.md").read_text()
    [two, one] = weights.read_examples(bundle)["default"]
    assert (two.inputs["image"].shape[0], one.inputs["image"].shape[0]) == (3, 1)
    np.testing.assert_array_equal(two.outputs["class"], best(model(centred(jnp.asarray(two.inputs["image"]))))["class"])
    assert report.files.keys() == {*bundle.files, "bundle.json"}
    text = str(report)
    assert "model.stablehlo" in text
    assert "XLA" in text
    assert "default: image [3, 4] and image [1, 4]" in text


def test_model_phlox_beside_them_is_the_model(tmp_path):
    model = mlp()
    px.export(model, tmp_path / "out", inputs=X)
    again = px.load(tmp_path / "out" / "model.phlox")
    assert repr(again) == repr(model)
    np.testing.assert_array_equal(again[1].weight, model[1].weight)
    report = px.export(px.Dense(4, 2, lambda y: y * 2, key=0), tmp_path / "odd", inputs=X)
    assert "without model.phlox" in str(report)
    with pytest.raises(px.ExportError, match=r"a bundle with a model\.phlox, got none"):
        px.interchange.refresh(tmp_path / "odd")


def test_several_signatures_share_their_weights(tmp_path):
    class Pair(px.Module):
        def __init__(self):
            self.inner, self.outer = px.Dense(4, 3, key=0), px.Dense(3, 4, key=1)

        def encode(self, x):
            return self.inner(x)

        def __call__(self, x):
            return self.outer(self.encode(x))

    pair = Pair()
    report = px.export(pair, tmp_path / "out", inputs=X, signatures={"encode": (pair.encode, X)})
    assert [r.file for r in report.rows] == ["model.stablehlo", "model.encode.stablehlo"]
    again, x = px.load_exported(tmp_path / "out"), np.random.default_rng(0).normal(size=(2, 4)).astype("f4")
    assert list(px.state_dict(again)) == [f"weights.{n}" for n in sorted(px.state_dict(pair))]
    np.testing.assert_allclose(again["encode"](x), pair.encode(x), rtol=1e-6)
    np.testing.assert_allclose(again(x), pair(x), rtol=1e-6)


def test_what_comes_back_under_an_input_s_name_is_called_out(tmp_path):
    oracle("onnxruntime")
    step = lambda model, x, cache: {"y": model(x), "cache": cache + x}  # noqa: E731
    inputs = {"x": px.Spec(2, 3), "cache": px.Spec(2, 3)}
    px.export(px.Dense(3, 4), tmp_path, to=["stablehlo", "onnx"], signatures={"step": (step, inputs)})
    said = weights.read_bundle(tmp_path).signatures["step"]
    assert [y.name for y in said.outputs] == ["y", "cache_out"]
    again = px.load_exported(tmp_path)
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(again(x, 2 * x)["cache"], 3 * x)


def test_a_key_that_is_an_input(tmp_path):
    class Noisy(px.Module):
        def __init__(self):
            self.drop, self.dense = px.trainmode(px.Dropout(0.5, key=0)), px.Dense(4, 4, key=1)

        def __call__(self, x):
            return self.drop(self.dense(x))

    model, key = Noisy(), jax.random.key(3)
    px.export(model, tmp_path / "out", inputs={**X, "key": px.Spec(dtype="key")})
    again, x = px.load_exported(tmp_path / "out"), np.ones((2, 4), "f4")
    model.drop.key = jax.random.fold_in(key, 0)
    np.testing.assert_allclose(again(x, key), model(x), rtol=1e-6)
    assert (np.asarray(again(x, key)) != np.asarray(again(x, jax.random.key(4)))).any()

    drawn = lambda m, x, key: m.dense(x) + noise(key)  # noqa: E731
    px.export(model, tmp_path / "drawn", signatures={"drawn": (drawn, {**X, "key": px.Spec(dtype="key")})})
    found = px.load_exported(tmp_path / "drawn")(x, key=key)
    np.testing.assert_allclose(found, model.dense(x) + noise(key), rtol=1e-5)


def test_an_encoder_turns_words_into_numbers(tmp_path):
    model = px.Embedding(3, 2, key=0)
    about = About(encoders={"colour": Encoder(["red", "green", "blue"])})
    px.export(model, tmp_path / "out", inputs={"colour": px.Spec(2, dtype="int32", below=3)}, about=about)
    again = px.load_exported(tmp_path / "out")
    np.testing.assert_array_equal(again(["blue", "red"]), model.weight[jnp.array([2, 0])])
    np.testing.assert_array_equal(again(np.array([1, 0], np.int32)), model.weight[jnp.array([1, 0])])
    with pytest.raises(px.RangeError, match="expects words among 'red', 'green', 'blue', got 'grey'"):
        again(["grey", "red"])
    with pytest.raises(px.OptionError, match="whole numbers for the encoder of 'size', got no such input"):
        px.export(
            model,
            tmp_path / "b",
            inputs={"colour": px.Spec("rows", dtype="int32")},
            about=About(encoders={"size": Encoder(["a"])}),
        )


def test_made_anew_from_the_model_beside_it(tmp_path):
    model, out = px.Dense(4, 2, key=0), tmp_path / "out"
    about, x = About(version="7", card="Kept.\n\n## Too"), {"image": px.Spec("batch", 4)}
    px.export(model, out, inputs=x, postprocess=px.softmax, sizes={"batch": (2, 2)}, about=about)
    first = weights.read_bundle(out)
    before = weights.read_examples(first)["default"][0]
    px.interchange.refresh(out)
    bundle = weights.read_bundle(out)
    assert (bundle.signatures, bundle.version, bundle.name) == (first.signatures, "7", "Dense")
    assert bundle.signatures["default"].program == {"postprocess": "phlox:softmax"}
    np.testing.assert_array_equal(weights.read_examples(bundle)["default"][0].inputs["image"], before.inputs["image"])
    assert (out / "card.md").read_text().count("Kept.\n\n## Too") == 1
    found = px.load_exported(out)(before.inputs["image"])
    np.testing.assert_allclose(found, before.outputs["output"], rtol=1e-6)
    px.export(model, tmp_path / "odd", inputs=X, postprocess=lambda y: y + 1)
    with pytest.raises(px.ExportError, match="expects a postprocess with a name to find it by, got one without"):
        px.interchange.refresh(tmp_path / "odd")


# --- what is refused ----------------------------------------------------------------------------------


class Swerving(StableHLO):
    """A format that takes tanh for sine."""

    name = "swerving"

    def opened(self, program, folder):
        def run(inputs):
            jaxpr = jax.make_jaxpr(program.flat)(list(program.weights.values()), [inputs[n] for n in program.inputs])
            values = swerved(jaxpr, *program.weights.values(), *(inputs[n] for n in program.inputs))
            return dict(zip(program.output_names, values, strict=True))

        return run


def swerved(closed, *arguments):
    known = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True)) | dict(
        zip(closed.jaxpr.invars, arguments, strict=True)
    )
    read = lambda v: v.val if hasattr(v, "val") else known[v]  # noqa: E731
    for e in closed.jaxpr.eqns:
        given, inner = [read(v) for v in e.invars], e.params.get("jaxpr") or e.params.get("call_jaxpr")
        if e.primitive.name == "tanh":
            found = [jnp.sin(given[0])]
        elif inner is not None:
            found = swerved(inner, *given)
        else:
            found = e.primitive.bind(*given, **e.params)
            found = found if e.primitive.multiple_results else [found]
        known |= dict(zip(e.outvars, found, strict=True))
    return [read(v) for v in closed.jaxpr.outvars]


@pytest.fixture
def swerving(monkeypatch):
    monkeypatch.setitem(_target._KNOWN, "swerving", Swerving())


def test_a_file_that_computes_something_else_is_not_written(swerving, tmp_path):
    with pytest.raises(px.ExportError) as caught:
        px.export(mlp(), tmp_path / "out", inputs=X, to=["stablehlo", "swerving"])
    assert "to give what the model gives, to 1e-05, got a difference of " in str(caught.value)
    assert "which begins at layers.1, Dense(8 → 8, tanh)\n  fix: nothing was written" in str(caught.value)
    assert os.listdir(tmp_path) == []


class Stumbling(StableHLO):
    """A format whose runtime breaks off."""

    name = "stumbling"

    def opened(self, program, folder):
        def run(inputs):
            raise OverflowError("no room")

        return run


def test_a_file_that_its_runtime_does_not_run_is_not_written(monkeypatch, tmp_path):
    monkeypatch.setitem(_target._KNOWN, "stumbling", Stumbling())
    with pytest.raises(px.ExportError, match=r"model\.stablehlo to run in XLA, got OverflowError: no room\n  fix: "):
        px.export(mlp(), tmp_path / "out", inputs=X, to="stumbling")
    assert os.listdir(tmp_path) == []


def test_a_tolerance_is_what_is_asked_for(swerving, tmp_path):
    report = px.export(mlp(), tmp_path / "out", inputs=X, to="swerving", tolerance=10.0)
    assert 1e-3 < report.error <= 10.0
    assert report.rows[0].tolerance == 10.0


class Calling(px.Module):
    def __init__(self):
        self.layers = [px.Dense(4, 4, key=0), Odd()]

    def __call__(self, x):
        return self.layers[1](self.layers[0](x))


class Odd(px.Module):
    def __call__(self, x):
        return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


class Counting(px.Module):
    count: px.State

    def __init__(self):
        self.count = jnp.zeros(())

    def __call__(self, x):
        self.count = self.count + 1
        return x * self.count


def dropping():
    return px.Chain(px.Dense(4, 4, key=0), px.trainmode(px.Dropout(0.5, key=1)))


REFUSALS = {
    "an operation": (
        Calling,
        {},
        px.ExportError,
        r"operations that StableHLO has, got pure_callback at layers\.1, which runs Python\n  fix: write it",
    ),
    "draws": (
        dropping,
        {},
        px.ExportError,
        r"draws no random numbers, got draws from layers\.1\.key\n  fix: .*px.Spec\(dtype=\"key\"\)",
    ),
    "moves": (Counting, {}, px.ExportError, "leaves State as it is, got a new value for count"),
    "a wrong size": (
        mlp,
        {"inputs": {"x": px.Spec("batch", 5)}},
        px.ShapeError,
        r"layers\[0\] Dense\(4 → 8, relu\) expects \(..., 4\), got float32\[batch, 5\]",
    ),
    "no inputs": (mlp, {"inputs": None}, px.OptionError, "inputs as a dict from names to px.Spec, got None"),
    "a tuple": (mlp, {"inputs": {"x": (3, 4)}}, px.OptionError, "a px.Spec for the input 'x', got tuple"),
    "one too many": (
        lambda: px.Dense(4, 2, key=0),
        {"inputs": {**X, "y": px.Spec(2)}},
        px.OptionError,
        r"inputs for the parameters \(.*\), got x, y: y beside them",
    ),
    "a format": (mlp, {"to": "tflight"}, px.RangeError, "formats among .*stablehlo.*, got 'tflight'"),
    "a symbol": (mlp, {"sizes": {"time": (1, 2)}}, px.RangeError, "sizes for symbols of the inputs, got 'time'"),
    "bounds": (
        mlp,
        {"inputs": {"x": px.Spec("batch", 4)}, "sizes": {"batch": (4, 2)}},
        px.RangeError,
        r"smallest and the largest size of 'batch', got \(4, 2\)",
    ),
    "a tolerance": (mlp, {"tolerance": -1.0}, px.RangeError, "a tolerance from 0, got -1.0"),
    "an example": (
        mlp,
        {"examples": {"x": np.ones((2, 5), "f4")}},
        px.ShapeError,
        r"an example of x \(2, 4\), got float32\[2, 5\]",
    ),
    "its name": (mlp, {"examples": {"y": np.ones((2, 4), "f4")}}, px.OptionError, "examples of x, got y"),
    "a function": (lambda: lambda x: x, {}, px.StructureError, "expects a Module, got function"),
    "which is larger": (
        lambda: px.PositionEmbedding(6, 4, key=0),
        {"inputs": {"x": px.Spec("batch", "time", 4)}},
        px.ExportError,
        r"which of two sizes is larger, at .*PositionEmbedding\(6, 4\).*\n  fix: .*sizes=",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_leave_nothing_behind(name, tmp_path):
    build, options, error, text = REFUSALS[name]
    with pytest.raises(error, match=text) as caught:
        px.export(build(), tmp_path / "out", **{"inputs": X, **options})
    assert caught.value.fix
    assert os.listdir(tmp_path) == []


@contextmanager
def files_of_at_most(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_older_bundle(tmp_path):
    model = px.Dense(100, 100, key=0)
    inputs = {"x": px.Spec(1, 100)}
    px.export(model, tmp_path / "out", inputs=inputs)
    before = contents(tmp_path)
    with (
        files_of_at_most(20_000),
        pytest.raises(weights.FileError, match=r"expects room for .*\n  fix: free some space"),
    ):
        px.export(model, tmp_path / "out", inputs=inputs, overwrite=True)
    assert contents(tmp_path) == before


def test_an_interrupt_leaves_the_older_bundle(tmp_path, monkeypatch):
    px.export(px.Dense(4, 2, key=0), tmp_path / "out", inputs=X)
    before = contents(tmp_path)

    def interrupted(self, program, folder):
        assert (folder / "model.stablehlo").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(StableHLO, "opened", interrupted)
    with pytest.raises(KeyboardInterrupt):
        px.export(px.Dense(4, 2, key=0), tmp_path / "out", inputs=X, overwrite=True)
    assert contents(tmp_path) == before
    with pytest.raises(KeyboardInterrupt):
        px.export(px.Dense(4, 2, key=0), tmp_path / "new", inputs=X)
    assert contents(tmp_path) == before


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_there_is_replaced_only_where_it_is_a_bundle_and_that_is_asked_for(tmp_path):
    model = px.Dense(4, 2, key=0)
    px.export(model, tmp_path / "out", inputs=X)
    (tmp_path / "out" / ".DS_Store").write_text("a system's")
    with pytest.raises(weights.FileError, match=r"to be new or empty, got a bundle\n  fix: .*overwrite=True"):
        px.export(model, tmp_path / "out", inputs=X)
    px.export(px.Dense(4, 3, key=0), tmp_path / "out", inputs=X, overwrite=True)
    assert weights.read_bundle(tmp_path / "out").signatures["default"].outputs[0].shape == (2, 3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    with pytest.raises(weights.FileError, match="got one with something else in it"):
        px.export(model, tmp_path / "mine", inputs=X, overwrite=True)
    with pytest.raises(weights.MissingFileError, match="in a folder that exists"):
        px.export(model, tmp_path / "no" / "out", inputs=X)
    assert sorted(os.listdir(tmp_path)) == ["mine", "out"]
