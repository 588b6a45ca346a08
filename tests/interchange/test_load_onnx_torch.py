"""``px.load_onnx`` on files of PyTorch's exporters and ONNX Runtime's quantisers, beside ONNX Runtime and PyTorch."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from interchange.exporting import assert_same
from interchange.make_onnx_files import FILES as FILES_OF
from interchange.make_onnx_files import gradients
from kit import oracle

onnx, onnxruntime = oracle("onnx"), oracle("onnxruntime")
FILES = Path(__file__).parent / "onnx_files"


def by_runtime(path, feeds, *, plain=False):
    """What ONNX Runtime gives; ``plain`` without its optimisations, which compute in other steps."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return [dict(zip(names, session.run(None, feed), strict=True)) for feed in feeds]


def by_phlox(path, feeds):
    """The same by a loaded file, compiled."""
    model = px.load_onnx(path)
    run = px.jit(lambda model, feed: model(**feed))
    found = [run(model, feed) for feed in feeds]
    return [y if isinstance(y, dict) else {model.outputs[0]: y} for y in found]


def images(*sizes, side=32, name="pixel_values"):
    rng = np.random.default_rng(0)
    return [{name: rng.normal(size=(n, 3, side, side)).astype("float32")} for n in sizes]


def texts(*sizes, name="input_ids", below=40, masked=True):
    rng = np.random.default_rng(0)
    found = []
    for batch, time in sizes:
        tokens = rng.integers(0, below, (batch, time))
        mask = np.arange(time) < rng.integers(1, time + 1, (batch, 1))
        found.append({name: tokens} | ({"attention_mask": mask.astype(np.int64)} if masked else {}))
    return found


NETWORKS = {
    "resnet": lambda: images(1, 3),
    "bert": lambda: texts((1, 9), (3, 5)),
    "lstm": lambda: texts((1, 9), (3, 5), name="tokens", below=20, masked=False),
}


def slowly(*values):
    """A case for the long run."""
    return pytest.param(*values, marks=pytest.mark.soak)


@pytest.mark.parametrize(
    ("network", "exporter"),
    [
        ("resnet", "dynamo"),
        ("bert", "dynamo"),
        ("lstm", "script"),
        slowly("resnet", "script"),
        slowly("resnet", "whole"),
        slowly("bert", "script"),
        slowly("lstm", "dynamo"),
    ],
)
def test_networks_of_pytorch_at_several_sizes(network, exporter):
    path, feeds = FILES / f"{network}-{exporter}.onnx", NETWORKS[network]()
    if (network, exporter) == ("lstm", "dynamo"):  # PyTorch fixes the time of a recurrent network
        feeds = texts((1, 7), (3, 7), name="tokens", below=20, masked=False)
    for found, wanted in zip(by_phlox(path, feeds), by_runtime(path, feeds), strict=True):
        assert_same(found, wanted, 1e-5)


@pytest.mark.parametrize("form", ["qdq", "qoperator", "dynamic"])
def test_quantised_networks(form):
    path, feeds = FILES / f"quantised-{form}.onnx", images(1, 3, side=16, name="image")
    for found, wanted in zip(by_phlox(path, feeds), by_runtime(path, feeds, plain=True), strict=True):
        assert_same(found, wanted, 1e-5)


def _in_order_of_the_file(model, name, gradient):
    """The gradient of a kernel, which is (space, in, out) here, as PyTorch has it."""
    return np.moveaxis(gradient, (-1, -2), (0, 1)) if name in model.held.kernels else np.asarray(gradient)


def test_gradients_are_those_of_pytorch():
    with np.load(FILES / "resnet-gradients.npz") as held:
        truth = dict(held)
    model, images = px.load_onnx(FILES / "resnet-whole.onnx"), truth.pop("images")
    step = px.jit(px.value_and_grad(lambda model: px.losses.cross_entropy(model(images), jnp.array([0, 3, 1]))))
    loss, grads = step(model)
    np.testing.assert_allclose(loss, truth.pop("loss"), rtol=1e-5)
    assert set(grads.weights) == set(truth)
    for name, want in truth.items():
        found = _in_order_of_the_file(model, name, grads.weights[name])
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4 * np.abs(want).max(), err_msg=name)


def test_an_imported_network_is_fine_tuned_and_exported_again(tmp_path):
    model = px.load_onnx(FILES / "convnet-script.onnx")
    (feed,) = images(8, side=16, name="image")
    data = feed["image"], np.arange(8) % 4
    history = px.fit(
        model, data, loss=px.losses.cross_entropy, optimizer=px.optim.Adam(1e-2), epochs=6, batch_size=8, progress=False
    )
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    px.export(model, tmp_path / "out", inputs={"image": px.Spec("batch", 3, 16, 16)}, to="onnx", examples=[feed])
    (found,) = by_runtime(tmp_path / "out" / "model.onnx", [feed])
    assert_same(list(found.values()), [px.jit(model)(feed["image"])], 1e-5)


# --- the files themselves, made anew --------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")  # PyTorch's exporters warn of PyTorch
@pytest.mark.parametrize("name", sorted(set(FILES_OF) - {n for n in FILES_OF if n.startswith("learned")}))
def test_files_made_anew_say_the_same(name, tmp_path):
    onnx.save(FILES_OF[name](), tmp_path / "new.onnx")
    feeds = {"quantised": lambda: images(2, side=16, name="image"), "convnet": lambda: images(2, side=16, name="image")}
    feed = (feeds | NETWORKS)[name.partition("-")[0]]()[:1]
    if name == "lstm-dynamo":
        feed = texts((2, 7), name="tokens", below=20, masked=False)
    (old,), (new,) = (by_runtime(path, feed, plain=True) for path in (FILES / f"{name}.onnx", tmp_path / "new.onnx"))
    assert_same(new, old, 1e-5)


@pytest.mark.soak
def test_gradients_made_anew_are_the_same():
    with np.load(FILES / "resnet-gradients.npz") as held:
        assert_same(gradients(), dict(held), 1e-5)
