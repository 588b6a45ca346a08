"""Event files, read back by TensorBoard's own reader and by TensorBoard's own server."""

import json
import re
import subprocess
import sys
import time
import urllib.request

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.loop.logs._graph import graph_of

X = np.linspace(-1, 1, 64, dtype="float32").reshape(16, 4)
PICTURE = np.tile(np.arange(8, dtype="float32")[:, None, None] / 8, (1, 8, 3))


def trained(folder, epochs=2, callbacks=(), **options):
    with px.seed(0):
        model = px.Chain(px.Dense(4, 3, px.tanh), px.BatchNorm(3), px.Dense(3, 1))
    logger = px.TensorBoardLogger(folder, gradients=True, images=lambda run: {"ramp": PICTURE})
    extra = px.LambdaCallback(
        on_fit_end=lambda run: logger.log_embedding("points", X, labels=range(16), images=np.ones((16, 4, 4, 1)))
    )
    extra.order = 0
    history = px.fit(
        model, (X, X[:, :1]), loss=px.losses.mse, optimizer=px.optim.Descent(0.1), batch_size=8, epochs=epochs,
        callbacks=[logger, extra, *callbacks], progress=False, seed=3, **options,
    )  # fmt: skip
    return model, history


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder of event files, and the model and history they are of."""
    folder = tmp_path_factory.mktemp("events") / "run"
    return folder, *trained(folder)


def events_of(folder):
    reader = oracle("tensorboard.backend.event_processing.event_accumulator")
    accumulator = reader.EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0, "images": 0})
    return accumulator.Reload()


def test_numbers_are_read_back(written):
    folder, _, history = written
    events = events_of(folder)
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [
        (int(step), np.float32(loss)) for step, loss in zip(history["step"], history["loss"], strict=True)
    ]


def test_distributions_are_those_of_the_arrays(written):
    folder, model, _ = written
    events = events_of(folder)
    tags = events.Tags()["histograms"]
    parameters = list(px.split(model)[0])
    assert sorted(tags) == sorted(f"{kind}/{path}" for kind in ("weights", "gradients") for path in parameters)
    last = events.Histograms("weights/layers.0.weight")[-1]
    weight = np.asarray(model[0].weight, float)
    assert last.step == 4
    assert last.histogram_value.num == weight.size
    np.testing.assert_allclose([last.histogram_value.min, last.histogram_value.max], [weight.min(), weight.max()])
    np.testing.assert_allclose(last.histogram_value.sum_squares, (weight**2).sum(), rtol=1e-6)


def test_gradients_are_those_of_the_last_step(tmp_path):
    x, y = jnp.asarray(X), jnp.asarray(X[:, :1])
    model = px.Dense.of(jnp.ones((4, 1)), None)
    expected = px.grad(lambda model: px.losses.mse(model(x), y))(model).weight
    logger = px.TensorBoardLogger(tmp_path, gradients=True, graph=False)
    px.fit(model, [(x, y)], loss=px.losses.mse, optimizer=px.optim.Descent(0.1), callbacks=[logger], progress=False)
    found = events_of(tmp_path).Histograms("gradients/weight")[-1].histogram_value
    np.testing.assert_allclose(found.sum, float(expected.sum()), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.sum_squares, float((expected**2).sum()), rtol=1e-4)


def test_the_summary_and_the_settings_are_there(written):
    folder, _, _ = written
    events = events_of(folder)
    text = events.Tensors("model/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "layers.0" in text
    assert "Dense(4 → 3, tanh)" in text
    plugin = oracle("tensorboard.plugins.hparams.plugin_data_pb2")
    start = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = plugin.HParamsPluginData.FromString(start).session_start_info.hparams
    assert settings["batch_size"].number_value == 8
    assert settings["seed"].number_value == 3
    assert "Descent" in settings["optimizer"].string_value


def test_the_picture_is_read_back(written):
    image = oracle("PIL.Image")
    import io

    found = events_of(written[0]).Images("ramp")[-1]
    pixels = np.asarray(image.open(io.BytesIO(found.encoded_image_string)))
    np.testing.assert_array_equal(pixels, (PICTURE * 255).astype("uint8"))


def test_the_graph_is_the_program():
    model = px.Chain(px.Dense(4, 3, px.relu), px.LSTM(3, 2))
    nodes = {n.name: n for n in graph_of(model, jax.ShapeDtypeStruct((5, 6, 4), jnp.float32)).node}
    first = nodes["Chain/layers/0/dot_general"]
    ends = [n for n in nodes.values() if n.op in ("Parameter", "Placeholder")]
    assert {n.name for n in ends if n.op == "Parameter"} == {
        f"Chain/{path.replace('.', '/')}" for path in px.state_dict(model)
    }
    assert "Chain/layers/0/weight" in first.input
    assert [d.size for d in first.attr["_output_shapes"].list.shape[0].dim][-1] == 3
    assert any(name.startswith("Chain/layers/1/scan/") for name in nodes)
    assert all(source.split(":")[0] in nodes for n in nodes.values() for source in n.input)
    assert reaches(nodes, "output_0", "input_0")
    assert reaches(nodes, "output_0", "Chain/layers/0/weight")


def reaches(nodes, start, goal):
    """Whether a node depends on another."""
    seen, todo = set(), [start]
    while todo:
        name = todo.pop().split(":")[0]
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            todo += nodes[name].input
    return False


def test_a_resumed_run_has_each_step_once(tmp_path):
    logs, saved = tmp_path / "logs", dict(checkpoint_dir=tmp_path / "saved")

    def stop(run):
        if run.epoch == 1:
            run.log("loss", 99.0, step=3)
            raise KeyboardInterrupt

    trained(logs, callbacks=[px.LambdaCallback(on_epoch_start=stop)], **saved)
    _, history = trained(logs, resume=True, **saved)
    found = [(e.step, e.value) for e in events_of(logs).Scalars("loss")]
    assert found == [(2, np.float32(history["loss"][0])), (4, np.float32(history["loss"][1]))]


def test_a_picture_of_another_shape_is_refused(tmp_path):
    with pytest.raises(px.ShapeError, match=r"log_image expects a picture .*got float64\[2, 3, 5\]"):
        px.TensorBoardLogger(tmp_path).log_image("x", np.ones((2, 3, 5)))
    with pytest.raises(px.RangeError, match="histograms of at least 0, got -1"):
        px.TensorBoardLogger(tmp_path, histograms=-1)


def test_numbers_that_are_not_finite_are_left_out_of_distributions(tmp_path):
    logger = px.TensorBoardLogger(tmp_path)
    logger.log_histogram("odd", np.array([1.0, np.nan, np.inf, 3.0]), 0)
    logger.log_histogram("none", np.array([np.nan]), 0)
    logger.log_histogram("short", jnp.ones(3, jnp.bfloat16), 0)
    logger.writer.close()
    events = events_of(tmp_path)
    assert events.Histograms("odd")[0].histogram_value.num == 2
    assert sorted(events.Tags()["histograms"]) == ["odd", "short"]


@pytest.fixture(scope="module")
def server(written):
    """TensorBoard itself, on a port of its own, for at most a minute."""
    oracle("tensorboard")
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(written[0].parent), "--host", "127.0.0.1"]
    command += ["--port", "0", "--load_fast", "false", "--reload_interval", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield found[0]
                break
        else:
            pytest.fail("TensorBoard did not start")
    finally:
        process.terminate()
        process.wait(20)
        process.stderr.close()


def asked(server, path, body=None):
    """What the server answers, parsed where it is JSON."""
    request = urllib.request.Request(server + path, None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    end = time.monotonic() + 30
    while True:
        with urllib.request.urlopen(request, timeout=10) as answer:
            data = answer.read()
        found = json.loads(data) if data[:1] in b"[{" else data
        if found or time.monotonic() > end:  # empty until the first reading of the files is over
            return found


def test_tensorboards_server_shows_it_all(server, written):
    _, _, history = written
    assert asked(server, "/data/runs") == ["run"]
    losses = asked(server, "/data/plugin/scalars/scalars?run=run&tag=loss")
    assert [(step, np.float32(value)) for _, step, value in losses] == [
        (2, np.float32(history["loss"][0])), (4, np.float32(history["loss"][1])),
    ]  # fmt: skip
    histograms = asked(server, "/data/plugin/histograms/histograms?run=run&tag=weights/layers.0.weight")
    assert [step for _, step, _ in histograms] == [2, 4]
    images = asked(server, "/data/plugin/images/images?run=run&tag=ramp&sample=0")
    picture = asked(server, "/data/plugin/images/individualImage?" + images[0]["query"])
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    text = asked(server, "/data/plugin/text/text?run=run&tag=model/text_summary")
    assert "BatchNorm(3)" in text[0]["text"]
    graph = asked(server, "/data/plugin/graphs/graph?run=run").decode()
    assert 'name: "Chain/layers/0/dot_general"' in graph
    experiment = asked(server, "/data/plugin/hparams/experiment", {"experimentName": ""})
    assert "batch_size" in [info["name"] for info in experiment["hparamInfos"]]
    embedded = asked(server, "/data/plugin/projector/info?run=run")
    assert embedded["embeddings"][0]["tensorShape"] == [16, 4]
