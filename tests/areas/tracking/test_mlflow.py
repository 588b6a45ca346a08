"""MLflow: what a run logs read back by REST, a server that dies meanwhile, and a model served from the registry."""

import json
import sys
import urllib.request
import warnings

import numpy as np
import pytest

import phlox as px
from areas.tracking.conftest import Process, X, free_port, trained

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow", "ignore::DeprecationWarning", "ignore::FutureWarning")


def run_of(server, logger):
    """The run of a logger, as REST has it."""
    found = server.ask("api/2.0/mlflow/experiments/get-by-name?experiment_name=" + logger.experiment)
    number = found["experiment"]["experiment_id"]
    where = f"tags.`phlox.run` = '{logger.key}'"
    (run,) = server.ask("api/2.0/mlflow/runs/search", experiment_ids=[number], filter=where)["runs"]
    return run


def pairs(items):
    return {item["key"]: item["value"] for item in items}


def column(server, run, name):
    """Every number of a name, in the order of steps."""
    path = f"api/2.0/mlflow/metrics/get-history?run_id={run['info']['run_id']}&metric_key={name}"
    return [(int(m.get("step", 0)), m["value"]) for m in server.ask(path)["metrics"]]


def artifact(server, run, path):
    where = f"{server.url}/get-artifact?path={path}&run_uuid={run['info']['run_id']}"
    with urllib.request.urlopen(where, timeout=60) as answer:
        return json.load(answer)


def test_a_run_read_back_by_rest(server, tmp_path):
    logger = px.MLflowLogger(server.url, "digits", name="first", tags={"team": "vision"})
    odd = px.LambdaCallback(on_epoch_end=lambda run: run.log("odd (%)", [np.nan, np.inf, 1.0][run.epoch]))
    square = px.LambdaCallback(on_epoch_end=lambda run: run.log("square", np.eye(2) * run.epoch))
    history = trained(odd, square, logger, seed=1)
    run = run_of(server, logger)
    assert (run["info"]["run_name"], run["info"]["status"]) == ("first", "FINISHED")
    assert logger.run_id == run["info"]["run_id"]
    assert column(server, run, "val_loss") == list(zip([3, 6, 9], history["val_loss"], strict=True))
    assert column(server, run, "odd%20___")[2] == (9, 1.0)
    params, tags = pairs(run["data"]["params"]), pairs(run["data"]["tags"])
    assert (params["epochs"], params["loss"], params["parameters"]) == ("3", "mse", "13")
    assert params["optimizer"].startswith("Adam(")
    assert tags["team"] == "vision"
    assert json.loads(tags["phlox.seeds"])["px.fit"] == 0
    (train, validation) = sorted(run["inputs"]["dataset_inputs"], key=lambda one: one["dataset"]["name"])
    assert train["dataset"]["digest"] == px.data.fingerprint((X, X**2)).digest[:16]
    assert validation["dataset"]["name"] == "validation_data"
    record = artifact(server, run, "run.json")
    assert record["model"]["layers"][1]["arrays"]["weight"] == "float32[1, 4]"
    assert artifact(server, run, "arrays/square.json")["value"] == [[2.0, 0.0], [0.0, 2.0]]
    assert artifact(server, run, "end.json")["results"]["loss"] == history["loss"][-1]


class Outage(px.Callback):
    """The server dies at the start of an epoch, and is there again at the start of another."""

    order = 60

    def __init__(self, server, goes, back):
        self.server, self.goes, self.back = server, goes, back

    def on_epoch_start(self, run):
        if run.epoch == self.goes:
            self.server.kill()
        if run.epoch == self.back:
            self.server.start()


def test_a_server_that_dies_meanwhile_stops_nothing_and_gets_everything(server):
    logger = px.MLflowLogger(server.url, "outage", patience=60)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        history = trained(Outage(server, 2, 5), logger, epochs=8)
    assert len([one for one in told if "MLflowLogger: URLError" in str(one.message)]) <= 1
    assert len(history) == 8
    run = run_of(server, logger)
    assert [value for _, value in column(server, run, "loss")] == history["loss"]
    assert run["info"]["status"] == "FINISHED"


def test_a_server_that_does_not_come_back_is_caught_up_afterwards(server, tmp_path):
    logger = px.MLflowLogger(server.url, "late", patience=0.5)
    server.kill()
    with pytest.warns(UserWarning, match="MLflowLogger") as told:
        history = trained(logger, log_dir=tmp_path)
    assert len([one for one in told if "Training goes on" in str(one.message)]) == 1
    server.start()
    assert px.loop.catch_up(tmp_path) > 3
    run = run_of(server, logger)
    assert [value for _, value in column(server, run, "loss")] == history["loss"]
    assert run["info"]["status"] == "FINISHED"


def test_a_resumed_run_goes_on_in_its_run_and_a_failed_one_says_so(server, tmp_path):
    def fail(run):
        if run.epoch == 1 and not run.history.logged("going on"):
            raise ValueError("as asked for")

    saved = dict(checkpoint_dir=tmp_path, log_dir=tmp_path / "logs")
    logger = px.MLflowLogger(server.url, "resumed")
    with pytest.raises(ValueError, match="as asked for"):
        trained(px.LambdaCallback(on_epoch_start=fail), logger, **saved)
    run = run_of(server, logger)
    assert run["info"]["status"] == "FAILED"
    assert pairs(run["data"]["tags"])["phlox.error"] == "ValueError: as asked for"
    again = px.MLflowLogger(server.url, "resumed")
    history = trained(again, epochs=4, resume=True, **saved)
    assert again.run_id == run["info"]["run_id"]
    run = run_of(server, again)
    assert [value for _, value in column(server, run, "loss")] == history["loss"]
    assert run["info"]["status"] == "FINISHED"
    assert pairs(run["data"]["params"])["epochs"] == "3"  # parameters of MLflow are written once


def test_a_database_without_a_server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # artifacts lie in ./mlruns then
    logger = px.MLflowLogger(f"sqlite:///{tmp_path / 'alone.db'}", patience=120)
    history = trained(logger)
    client = __import__("mlflow").MlflowClient(f"sqlite:///{tmp_path / 'alone.db'}")
    assert [m.value for m in client.get_metric_history(logger.run_id, "loss")] == history["loss"]


def test_a_model_is_registered_loaded_and_served(server, tmp_path):
    logger = px.MLflowLogger(server.url, "served", patience=60)
    history = trained(logger)
    for _ in range(2):
        info = px.interchange.log_to_mlflow(
            history.model, "curve", example=X[:2], run_id=logger.run_id, register="curves", uri=server.url
        )
    versions = server.ask("api/2.0/mlflow/model-versions/search?filter=name%3D%27curves%27")["model_versions"]
    assert sorted((v["version"], v["run_id"]) for v in versions) == [(n, logger.run_id) for n in ("1", "2")]
    wanted = px.predict(history.model, X)
    again = px.interchange.load_from_mlflow("models:/curves/2", uri=server.url)
    np.testing.assert_array_equal(px.predict(again, X), wanted)
    assert info.flavors["phlox"]["model"] == "model.phlox"
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/curves/2", "--env-manager", "local",
               "--host", "127.0.0.1", "--port", str(port)]  # fmt: skip
    served = Process(command, f"http://127.0.0.1:{port}", tmp_path, {"MLFLOW_TRACKING_URI": server.url})
    served.start()
    try:
        answer = served.ask("invocations", inputs=X.tolist())
        np.testing.assert_allclose(answer["predictions"], wanted, rtol=1e-6)
        with pytest.raises(urllib.error.HTTPError) as refused:
            served.ask("invocations", inputs=[[1.0, 2.0]])
        assert refused.value.code == 400
    finally:
        served.kill()
