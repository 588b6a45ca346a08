"""Quantised models as LiteRT files: integers of the file, and products of integers, in LiteRT's own runtime."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ai_edge_litert import interpreter

import phlox as px

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(60, 48)).astype("f") + 0.5
IMAGES = RNG.normal(size=(20, 8, 8, 3)).astype("f") + 0.5


def maps():
    return px.Chain(px.Dense(48, 64, px.relu, key=0), px.Dense(64, 10, key=1))


def convolutions():
    return px.Chain(
        px.Conv((3, 3), 3, 8, px.relu, padding=1, key=0), px.DepthwiseConv((3, 2), 8, stride=2, padding="SAME", key=1),
        px.Conv((1, 1), 8, 16, px.relu, bias=False, key=2), px.GlobalMeanPool(), px.flatten, px.Dense(16, 4, key=3),
    )  # fmt: skip


NETWORKS = {"maps": (maps, FEATURES), "convolutions": (convolutions, IMAGES)}
FORMS = {
    "int8": {},
    "zeros": {"symmetric": False},
    "tensor": {"per": "tensor"},
    "four": {"bits": 4},
    "groups": {"bits": 4, "group": 5, "symmetric": False},
    "dynamic": {"inputs": "dynamic"},
    "static": {"inputs": "static"},
}


def quantised(model, data, form):
    options = dict(FORMS[form])
    if form == "static":
        options["inputs"] = px.compress.calibrate(model, data)
    return px.compress.quantize(model, **options)


def written(model, x, folder, **options):
    report = px.export(model, folder, inputs={"x": px.Spec(*x.shape)}, to="litert", **options)
    return interpreter.Interpreter(str(folder / "model.tflite")), report.rows[0]


def operators(file):
    return Counter(each["op_name"] for each in file._get_ops_details())


def weights_of(file):
    """The arrays of integers that the file holds."""
    made = {i for each in file._get_ops_details() for i in each["outputs"]}
    held = {i for each in file._get_ops_details() for i in each["inputs"]} - made
    return [t for t in file.get_tensor_details() if t["index"] in held and t["dtype"] == np.int8]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_file_has_the_integers_and_gives_what_the_model_gives(network, form, tmp_path):
    build, data = NETWORKS[network]
    model = build()
    small, x = quantised(model, data, form), data[:7]
    file, row = written(small, x, tmp_path / "out")
    assert row.error <= 1e-5
    layers = [layer for layer in small if hasattr(layer, "codes")]
    held = weights_of(file)
    assert len(held) == len(layers)
    if form == "groups":
        return
    scales = sorted(tuple(sorted(t["quantization_parameters"]["scales"])) for t in held)
    assert scales == sorted(tuple(sorted(np.asarray(layer.scale, np.float32).ravel())) for layer in layers)
    codes = sorted(tuple(sorted(file.get_tensor(t["index"]).ravel())) for t in held)
    whole = [np.round(np.asarray(px.compress.dequantize(layer).weight / layer.scale[0])) for layer in layers]
    if form != "zeros":
        assert codes == sorted(tuple(sorted(w.astype(int).ravel())) for w in whole)


def test_products_of_integers_are_the_runtimes_own_where_results_are_rounded(tmp_path):
    model = convolutions()
    small, x = quantised(model, IMAGES, "static"), IMAGES[:2]
    file, row = written(small, x, tmp_path / "out")
    found = operators(file)
    # two convolutions give integers to the next; what the mean and the last map read are numbers
    assert (found["QUANTIZE"], found["CONV_2D"], found["DEPTHWISE_CONV_2D"], found["DEQUANTIZE"]) == (2, 2, 1, 4)
    kinds = {t["index"]: t["dtype"] for t in file.get_tensor_details()}
    products = [e for e in file._get_ops_details() if e["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    whole = [[kinds[i] for i in (*each["inputs"][:2], *each["outputs"])] for each in products]
    assert whole.count([np.int8] * 3) == 2
    assert {kinds[each["inputs"][2]] for each in products[:2]} == {np.int32}
    assert row.tolerance == 2e-2


def test_a_result_that_is_read_as_it_is_stays_as_it_is(tmp_path):
    class Two(px.Module):
        def __init__(self):
            self.first, self.second = px.Dense(48, 32, key=0), px.Dense(32, 4, key=1)

        def __call__(self, x):
            y = self.first(x)
            return {"inner": y, "outer": self.second(y)}

    model = Two()
    small = px.compress.quantize(model, inputs=px.compress.calibrate(model, FEATURES))
    file, row = written(small, FEATURES[:5], tmp_path / "out")
    assert operators(file)["QUANTIZE"] == 2
    assert row.error <= 1e-5


@pytest.mark.parametrize("form", ["int8", "static", "dynamic"])
def test_the_report_has_the_file_beside_that_of_floats(form, tmp_path):
    model = px.Chain(px.Dense(256, 512, px.relu, key=0), px.Dense(512, 256, px.relu, key=1), px.Dense(256, 64, key=2))
    x = RNG.normal(size=(40, 256)).astype("f")
    small = quantised(model, x, form)
    _, row = written(small, x, tmp_path / "out", original=model, examples=[{"x": x}])
    written(model, x, tmp_path / "plain")
    assert row.original.size == (tmp_path / "plain" / "model.tflite").stat().st_size
    assert row.size <= 0.3 * row.original.size
    assert row.original.alike == np.mean(np.asarray(small(x)).argmax(-1) == np.asarray(model(x)).argmax(-1))


def test_loops_embeddings_and_transposed_convolutions(tmp_path):
    for bits in (8, 4):
        for name, model, spec in (
            ("loop", px.RepeatedLayer(lambda: px.Dense(8, 8, px.tanh), 3), px.Spec(2, 8)),
            ("table", px.Embedding(9, 6, key=0), px.Spec(3, dtype="int32", below=9)),
            ("wider", px.ConvTranspose((2, 2), 4, 6, stride=2, groups=2, key=0), px.Spec(2, 3, 3, 4)),
        ):
            folder = tmp_path / f"{name}{bits}"
            small = px.compress.quantize(model, bits)
            assert px.export(small, folder, inputs={"x": spec}, to="litert").error <= 1e-5
            file = interpreter.Interpreter(str(folder / "model.tflite"))
            if name == "loop":
                assert len(weights_of(file)) == 3


def test_floats_of_8_bits_are_refused(tmp_path):
    small = px.compress.quantize(maps(), "e4m3")
    with pytest.raises(px.ExportError, match=r"weights of whole numbers.*got floats of 8 bits, e4m3\n  fix: quantise"):
        written(small, FEATURES[:3], tmp_path / "out")
    assert not list(tmp_path.iterdir())
