"""What the area takes beside Python: an MLflow server with SQLite on this machine, Chromium, a small training."""

import gc
import importlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import mlflow
import numpy as np
import optuna
import pytest
import wandb

import phlox as px

ROOT = Path(__file__).resolve().parents[3]
X = np.linspace(-1, 1, 24, dtype="float32")[:, None]
PACKAGES = mlflow, optuna, wandb  # which must be there: without one no test is skipped, all fail
os.environ["WANDB_MODE"] = "offline"  # nothing goes out, whatever a test forgets
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


def trained(*callbacks, epochs=3, seed=0, **options):
    """A small training; its history, and its model as ``history.model``."""
    with px.seed(seed):
        model = px.Chain(px.Dense(1, 4, px.tanh), px.Dense(4, 1))
    given = dict(optimizer=px.optim.Adam(0.05), batch_size=8, validation_data=(X[:8], X[:8] ** 2)) | options
    return px.fit(model, (X, X**2), loss=px.losses.mse, epochs=epochs, callbacks=callbacks, progress=False, **given)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Process:
    """A server in a process of its own, at an address; ``start`` waits until it answers."""

    def __init__(self, command, url, folder, environment=None):
        self.command, self.url, self.log = command, url, folder / "server.log"
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # what MLflow starts itself
        self.environment = {**os.environ, "PATH": programs, **(environment or {})}
        self.process = None

    def start(self):
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )
        end = time.monotonic() + 120
        while not self.answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)

    def answers(self):
        try:
            return urllib.request.urlopen(f"{self.url}/health", timeout=5).status == 200
        except (OSError, urllib.error.URLError):
            return False

    def kill(self):
        """End it and all that it started, at once."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait()

    def ask(self, path, **body):
        """A POST of JSON, or a GET where there is no body; what comes back."""
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.url}/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@pytest.fixture(scope="module", autouse=True)
def connections():
    """Those that MLflow's client leaves open go with its tests, where another test would be blamed for them."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """MLflow's tracking server with a database of SQLite and artifacts in a folder."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    made = Process(command, f"http://127.0.0.1:{port}", folder)
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="session")
def chrome():
    """A browser."""
    sys.path.insert(0, str(ROOT / "examples" / "deploy"))
    with importlib.import_module("chrome").Chrome(flags=["--window-size=1240,1000"]) as browser:
        yield browser
