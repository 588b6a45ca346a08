"""The format of pages: what lies in the folder, what each input is asked for by, what is refused."""

import json
import re

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import weights
from phlox.interchange import Web
from phlox.interchange.onnx import _saving
from phlox.interchange.targets import _onnx, _target
from phlox.interchange.targets._fields import field_of
from phlox.interchange.targets._web import PAGE, RUNTIME, VARIABLE

onnx, runtime = oracle("onnx"), oracle("onnxruntime")
LABELS = ["length", "width", "height", "weight"]


def centred(x):
    return x - 2.5


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder as npm makes it, whose files are not what they are called."""
    folder = tmp_path_factory.mktemp("npm") / "node_modules" / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text('{"version": "1.30.0"}')
    for name in RUNTIME:
        (folder / "dist" / name).write_text(f"{name} itself")
    return folder


@pytest.fixture(scope="module")
def model():
    return px.Chain(px.Dense(4, 8, px.tanh, key=0), px.Dense(8, 3, key=1))


@pytest.fixture(scope="module")
def bundle(package, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "out"
    page = Web(labels={"x": LABELS}, shares=False, onnxruntime_web=package)
    px.export(
        model, folder, inputs={"x": px.Spec("batch", 4)}, to=page, preprocess=centred,
        about=px.interchange.About(classes=["a", "b", "c"]),
    )  # fmt: skip
    return weights.read_bundle(folder)


def test_the_folder_has_the_page_the_model_and_what_runs_it(bundle, model):
    files = {"index.html", "page.js", "model.onnx", *RUNTIME}
    assert set(bundle.files) == {*files, "card.md", "examples.npz", "model.phlox"}
    for name in ("index.html", "page.js"):
        assert (bundle.folder / name).read_bytes() == (PAGE / name).read_bytes()
    for name in RUNTIME:
        assert (bundle.folder / name).read_text() == f"{name} itself"
    written = bundle.targets["web"]["default"]
    assert (written.file, written.tolerance) == ("model.onnx", 1e-5)
    assert written.error <= 1e-5
    assert written.details["onnxruntime-web"] == "1.30.0"
    assert written.details["page"]["fields"] == {"x": {"kind": "row", "labels": LABELS}}
    assert written.details["page"]["shares"] is False
    session = runtime.InferenceSession(str(bundle.folder / "model.onnx"), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    first, second = model[0], model[1]
    wanted = np.tanh((x - 2.5) @ first.weight + first.bias) @ second.weight + second.bias
    np.testing.assert_allclose(session.run(None, {"x": x})[0], wanted, rtol=1e-5, atol=1e-5)


def test_settings_stay_when_files_are_made_anew(bundle, package, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(package))
    px.interchange.refresh(bundle.folder, allow=centred)
    again = weights.read_bundle(bundle.folder)
    assert again.targets["web"]["default"].details == bundle.targets["web"]["default"].details
    assert again.signatures == bundle.signatures


def test_the_page_names_no_other_place():
    head = (PAGE / "index.html").read_text("utf-8")
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', head)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    for path in PAGE.iterdir():
        assert "://" not in path.read_text("utf-8")


PICTURE = {"kind": "picture", "axes": [1, 2], "channels": 3}
ASKED = [
    (px.Spec("batch", 28, 28, 1), {}, {"kind": "picture", "axes": [1, 2], "channels": 1}),
    (px.Spec("batch", "height", "width", 3, dtype="uint8"), {}, PICTURE),
    (px.Spec("batch", 28, 28, 1), {"pictures": []}, {"kind": "text"}),
    (px.Spec("batch", 28, 28), {}, {"kind": "text"}),
    (px.Spec("batch", 28, 28), {"pictures": ["x"]}, {"kind": "picture", "axes": [1, 2], "channels": 1}),
    (px.Spec(8, 6, 4), {"pictures": ["x"]}, {"kind": "picture", "axes": [0, 1], "channels": 4}),
    (px.Spec("batch", 3), {}, {"kind": "row", "labels": ["0", "1", "2"]}),
    (px.Spec("batch", dtype="int32"), {}, {"kind": "row", "labels": ["x"]}),
    (px.Spec(2, 2, dtype="bool"), {"labels": {"x": list("abcd")}}, {"kind": "row", "labels": list("abcd")}),
    (px.Spec("batch", 40), {}, {"kind": "text"}),
    (px.Spec("batch", 40), {"labels": {"x": ["a"] * 40}}, {"kind": "row", "labels": ["a"] * 40}),
    (px.Spec("batch", "time", dtype="int32"), {}, {"kind": "text"}),
    (px.Spec("batch", 4, 4, 3, dtype="int32"), {}, {"kind": "text"}),
]


@pytest.mark.parametrize(("spec", "settings", "wanted"), ASKED, ids=str)
def test_what_an_input_is_asked_for_by(spec, settings, wanted):
    found = field_of("x", spec, settings.get("pictures"), settings.get("labels", {}), "here")
    assert found == json.loads(json.dumps(found)) == wanted


REFUSED = [
    (px.Spec("batch", 4, dtype="bfloat16"), {}, "here expects 'x' in a dtype that a page has, got bfloat16"),
    (px.Spec(dtype="key"), {}, "here expects 'x' in a dtype that a page has, got key"),
    (px.Spec("batch", 4), {"labels": {"x": ["a"]}}, "here expects 4 labels for 'x', got 1 for Spec('batch', 4)"),
    (px.Spec("batch", "time"), {"labels": {"x": ["a"]}}, "here expects no labels for 'x', got 1 for"),
    (px.Spec(2, 8, 8, 3), {"pictures": ["x"]}, "here expects the picture 'x' as one of uint8 or floats"),
    (px.Spec("batch", 8, 8, 3, dtype="int32"), {"pictures": ["x"]}, "got Spec('batch', 8, 8, 3, dtype='int32')"),
    (px.Spec("batch"), {"pictures": ["x"]}, "got Spec('batch')"),
]


@pytest.mark.parametrize(("spec", "settings", "text"), REFUSED, ids=str)
def test_what_a_page_cannot_ask_for(spec, settings, text):
    with pytest.raises((px.DtypeError, px.RangeError), match=re.escape(text)) as caught:
        field_of("x", spec, settings.get("pictures"), settings.get("labels", {}), "here")
    assert caught.value.fix


def halved(y):
    return y.astype(jnp.bfloat16)


@pytest.mark.parametrize(
    ("page", "more", "text"),
    [
        ({"labels": {"image": ["a"]}}, {}, "expects pictures and labels of inputs, got 'image'\n  fix: name one of x"),
        ({}, {"postprocess": halved}, "expects 'output' in a dtype that a page has, got bfloat16"),
    ],
    ids=["unknown", "output"],
)
def test_a_refusal_leaves_nothing_behind(page, more, text, package, model, tmp_path):
    with pytest.raises(px.PhloxError, match=re.escape(text)):
        px.export(model, tmp_path / "out", inputs={"x": px.Spec(2, 4)}, to=Web(**page, onnxruntime_web=package), **more)
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_the_error_says_where_to_get_it(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(px.MissingExtraError) as caught:
        px.export(model, tmp_path / "out", inputs={"x": px.Spec(2, 4)}, to="web")
    text = str(caught.value)
    assert text.startswith(
        f"px.export('{tmp_path / 'out'}') expects onnxruntime-web, whose files ort.wasm.bundle.min.mjs"
    )
    assert f"got none in node_modules of {tmp_path} or above" in text
    for cure in ("npm install onnxruntime-web@1.30", VARIABLE, "to=px.interchange.Web(onnxruntime_web=…)"):
        assert cure in caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_the_package_is_found_where_it_is_named_or_above(package, tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    inner = package.parents[1] / "some" / "where"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    Web().require("here")
    monkeypatch.chdir(tmp_path)
    Web(onnxruntime_web=package / "dist").require("here")
    monkeypatch.setenv(VARIABLE, str(package))
    Web().require("here")
    with pytest.raises(px.MissingExtraError, match="got none in nowhere"):
        Web(onnxruntime_web="nowhere").require("here")


def test_a_format_with_settings_stands_for_itself_once(package, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(package))
    page = Web(pictures=["x"])
    assert _target.chosen(["onnx", page], "here")[1] is page
    assert _target.chosen(page, "here") == [page]
    with pytest.raises(px.RangeError, match="here expects each format once, got web, web"):
        _target.chosen(["web", page], "here")
    with pytest.raises(px.RangeError, match=r"here expects formats among .*web.*, got 3"):
        _target.chosen([3], "here")


def narrowed(x):
    return x.astype(jnp.float16)


def widened(y):
    return y.astype(jnp.float32)


def test_a_difference_is_looked_for_in_layers_of_any_dtype(package, model, tmp_path):
    with pytest.raises(px.ExportError, match=r"expects model\.onnx to give what the model gives.* begins at layers"):
        px.export(
            px.f16(model), tmp_path / "out", inputs={"x": px.Spec(2, 4)}, to=Web(onnxruntime_web=package),
            preprocess=narrowed, postprocess=widened, tolerance=0.0,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_weights_that_stand_apart_are_too_many_for_a_page(package, model, tmp_path, monkeypatch):
    monkeypatch.setattr(_onnx, "_LARGE", 100)
    monkeypatch.setattr(_saving, "_APART", 1)
    with pytest.raises(px.ExportError, match=r"expects a model below 1 GiB for a page, got model\.onnx\.data"):
        px.export(model, tmp_path / "out", inputs={"x": px.Spec(2, 4)}, to=Web(onnxruntime_web=package))
    assert list(tmp_path.iterdir()) == []
