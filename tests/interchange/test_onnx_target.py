"""ONNX in a bundle: proved in ONNX Runtime, beside StableHLO, with pre- and postprocessing."""

import jax.numpy as jnp
import numpy as np

import phlox as px
from kit import oracle
from phlox import cli, weights

oracle("flatbuffers")
onnx, runtime = oracle("onnx"), oracle("onnxruntime")


def centred(image):
    return (image.astype(jnp.float32) - 127.5) / 127.5


def best(scores):
    return {"class": jnp.argmax(scores, -1), "scores": px.softmax(scores)}


def test_both_formats_in_one_bundle(tmp_path):
    model = px.Chain(px.Dense(4, 8, px.tanh, key=0), px.Dropout(0.5, key=1), px.Dense(8, 3, key=2))
    image = {"image": px.Spec("batch", 4, dtype="uint8", below=256)}
    report = px.export(
        model, tmp_path / "out", inputs=image, to=["stablehlo", "onnx"], preprocess=centred, postprocess=best
    )
    assert [(row.file, row.target) for row in report.rows] == [
        ("model.stablehlo", "XLA"),
        ("model.onnx", "ONNX Runtime"),
    ]
    assert report.error <= 1e-5
    made = onnx.load(tmp_path / "out" / "model.onnx")
    onnx.checker.check_model(made, full_check=True)
    assert {x.name for x in made.graph.initializer} >= {"layers.0.weight", "layers.2.weight"}
    assert not any("key" in x.name for x in made.graph.initializer)
    session = runtime.InferenceSession(str(tmp_path / "out" / "model.onnx"), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).integers(0, 256, (5, 4)).astype(np.uint8)
    found = dict(zip((o.name for o in session.get_outputs()), session.run(None, {"image": x}), strict=True))
    w1, b1, w2, b2 = (
        np.asarray(a, np.float64) for a in (model[0].weight, model[0].bias, model[2].weight, model[2].bias)
    )
    powers = np.exp(np.tanh((x / 127.5 - 1) @ w1 + b1) @ w2 + b2)
    np.testing.assert_allclose(found["scores"], powers / powers.sum(-1, keepdims=True), rtol=1e-5)
    np.testing.assert_array_equal(found["class"], powers.argmax(-1))


def test_a_format_that_comes_later(tmp_path, capsys):
    px.export(px.Dense(4, 3, key=0), tmp_path / "out", inputs={"x": px.Spec(2, 4)})
    assert cli.main(["export", str(tmp_path / "out"), "--to", "onnx"]) == 0
    assert capsys.readouterr().out.startswith("wrote ")
    assert set(weights.read_bundle(tmp_path / "out").targets) == {"stablehlo", "onnx"}
