"""What a run records of itself, how it is read back, and what becomes of it where a disk is full."""

import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest

import phlox as px
from phlox.loop.tracking._surroundings import code_version

X = np.linspace(-1, 1, 32, dtype="float32")[:, None]
Y = 2 * X


def model(seed=0):
    with px.seed(seed):
        return px.Chain(px.Dense(1, 4, px.tanh), px.Dense(4, 1))


def trained(folder, *callbacks, epochs=2, **options):
    given = dict(validation_data=(X[:8], Y[:8]), batch_size=8, progress=False, seed=5) | options
    return px.fit(
        model(), (X, Y), loss=px.losses.mse, optimizer=px.optim.Adam(0.01), epochs=epochs, callbacks=callbacks,
        log_dir=folder, **given,
    )  # fmt: skip


def written(folder):
    return json.loads((folder / "run.json").read_text())


def test_a_run_records_what_it_was_made_of(tmp_path):
    history = trained(tmp_path, px.EarlyStopping("val_loss", patience=3))
    found = written(tmp_path)
    assert found["config"]["epochs"] == 2
    assert found["config"]["loss"] == "mse"
    assert found["optimizer"].startswith("Adam(")
    assert "0.01" in found["optimizer"]
    assert any(text.startswith("EarlyStopping(monitor='val_loss', patience=3") for text in found["callbacks"])
    assert found["seeds"]["px.fit"] == 5
    assert found["data"]["train_data"]["digest"] == px.data.fingerprint((X, Y)).digest
    assert found["data"]["validation_data"]["digest"] == px.data.fingerprint((X[:8], Y[:8])).digest
    layers = {layer["path"]: layer["arrays"] for layer in found["model"]["layers"]}
    assert layers["layers.0"] == {"weight": "float32[1, 4]", "bias": "float32[4]"}
    assert found["model"]["parameters"] == 4 + 4 + 4 + 1
    assert found["environment"]["python"] == platform.python_version()
    assert found["environment"]["packages"]["jax"] == importlib.metadata.version("jax")
    assert sum(found["environment"]["devices"].values()) == len(jax.devices())
    assert (found["status"], found["epochs"], found["steps"]) == ("finished", 2, 8)
    assert found["results"]["loss"] == history["loss"][-1]


def test_the_code_is_told_by_its_commit_and_its_changes(tmp_path, monkeypatch):
    """A program in a repository of its own; the answers are git's."""

    def git(*arguments):
        identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    program = tmp_path / "program.py"
    program.write_text("print()\n")
    git("init", "-q", "-b", "trunk")
    git("add", ".")
    git("commit", "-qm", "one")
    git("remote", "add", "origin", "https://somebody:secret@example.org/x.git")
    main = types.ModuleType("__main__")
    main.__file__ = str(program)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", [str(program), "--rate", "3"])
    clean = code_version()
    assert clean["commit"] == git("rev-parse", "HEAD")
    assert (clean["branch"], clean["program"], clean["arguments"]) == ("trunk", "program.py", ["--rate", "3"])
    assert clean["sha256"] == hashlib.sha256(b"print()\n").hexdigest()
    assert "changed" not in clean
    assert "secret" not in json.dumps(clean)
    program.write_text("print(1)\n")
    one = code_version()
    program.write_text("print(2)\n")
    assert one["changed"] == code_version()["changed"] == ["program.py"]
    assert one["diff"] != code_version()["diff"]


class Ending(px.Callback):
    """Ends a run at the start of an epoch."""

    def __init__(self, epoch, error):
        self.epoch, self.error = epoch, error

    def on_epoch_start(self, run):
        if run.epoch == self.epoch:
            raise self.error


def test_how_a_run_ended(tmp_path):
    with pytest.raises(ValueError, match="as asked for"):
        trained(tmp_path / "failed", Ending(1, ValueError("as asked for")))
    assert written(tmp_path / "failed")["status"] == "failed"
    assert written(tmp_path / "failed")["error"] == "ValueError: as asked for"
    trained(tmp_path / "stopped", Ending(1, KeyboardInterrupt()))
    assert written(tmp_path / "stopped")["status"] == "interrupted"
    seen = []
    trained(tmp_path / "going", px.LambdaCallback(on_epoch_end=lambda run: seen.append(written(tmp_path / "going"))))
    assert [one["status"] for one in seen] == ["running", "running"]


def test_a_resumed_run_goes_on_in_its_record_and_a_new_one_sets_it_aside(tmp_path):
    saved = dict(checkpoint_dir=tmp_path / "saved")
    trained(tmp_path / "run", Ending(1, KeyboardInterrupt()), **saved)
    first = written(tmp_path / "run")
    trained(tmp_path / "run", resume=True, epochs=3, **saved)
    found = written(tmp_path / "run")
    assert (found["id"], found["started"]) == (first["id"], first["started"])
    assert [(one["step"], one["config"]["epochs"]) for one in found["resumed"]] == [(4, 3)]
    assert (found["status"], found["epochs"]) == ("finished", 3)
    trained(tmp_path / "run")
    assert written(tmp_path / "run")["id"] != first["id"]
    assert json.loads((tmp_path / "run" / "run.1.json").read_text())["id"] == first["id"]


def test_a_run_is_read_back_number_for_number(tmp_path):
    noted = px.LambdaCallback(on_epoch_end=lambda run: run.log("noted", [np.nan, 3.0][run.epoch]))
    confusion = px.LambdaCallback(on_epoch_end=lambda run: run.log("confusion", np.eye(2) * run.epoch))
    history = trained(tmp_path / "name", noted, confusion)
    run = px.read_run(tmp_path / "name")
    assert (run.name, run.status, run.record["id"]) == ("name", "finished", written(tmp_path / "name")["id"])
    assert [value for _, value in run.numbers["val_loss"]] == history["val_loss"]
    assert [step for step, _ in run.numbers["val_loss"]] == [4, 8]
    assert run.best("val_loss") == (8, min(history["val_loss"]))
    assert run.best("noted") is None
    assert run.last("noted") == 3.0
    assert np.isnan(run.numbers["noted"][0][1])
    np.testing.assert_array_equal(run.arrays["confusion"], np.eye(2))
    assert [row["epoch"] for row in run.epochs] == [0, 1]
    with pytest.raises(px.RangeError, match="choose among loss, val_loss, noted"):
        run.last("other")


def test_a_damaged_folder(tmp_path):
    with pytest.raises(px.weights.MissingFileError, match=r"to hold run.json or log.jsonl, got neither"):
        px.read_run(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"step": 1, "time": 0, "loss": 0.5}\n{"step": 2, "ti')
    assert px.read_run(tmp_path).numbers == {"loss": [(1, 0.5)]}
    (tmp_path / "log.jsonl").write_text('{"step": 1\n{"step": 2, "time": 0}\n')
    with pytest.raises(px.weights.CorruptFileError, match=r"log\.jsonl, line 1 to be JSON"):
        px.read_run(tmp_path)


class FullDisk(px.Callback):
    """A disk that is full during some epochs: nothing that is opened or written gets anywhere, half a line at most."""

    order = -1

    def __init__(self, patch, epochs):
        self.patch, self.epochs = patch, epochs
        self.write, self.open, self.write_text = os.write, Path.open, Path.write_text

    def on_epoch_start(self, run):
        if run.epoch in self.epochs:
            self.patch.setattr(os, "write", lambda file, data: self.write(file, data[:5]))
            self.patch.setattr(Path, "open", self.full)
            self.patch.setattr(Path, "write_text", self.full)
        else:
            self.back()

    def on_fit_end(self, run):
        if 99 not in self.epochs:
            self.back()

    def back(self):
        self.patch.setattr(os, "write", self.write)
        self.patch.setattr(Path, "open", self.open)
        self.patch.setattr(Path, "write_text", self.write_text)

    def full(self, *args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_stops_no_training_and_what_is_missing_is_written_later(tmp_path, monkeypatch):
    with pytest.warns(UserWarning, match="No space left on device") as told:
        history = trained(tmp_path, FullDisk(monkeypatch, {1, 2}), epochs=5)
    assert sorted(str(one.message).split(":")[0] for one in told) == ["CSVLogger", "JSONLinesLogger"]
    assert len(history) == 5
    run = px.read_run(tmp_path)
    assert [value for _, value in run.numbers["loss"]] == history["loss"]
    rows = (tmp_path / "history.csv").read_text().splitlines()[1:]
    assert [float(row.split(",")[2]) for row in rows] == history["loss"]
    assert run.status == "finished"


def test_a_disk_that_stays_full_is_told(tmp_path, monkeypatch):
    with pytest.warns(UserWarning, match="Training goes on|lost|not in") as told:
        history = trained(tmp_path, FullDisk(monkeypatch, {1, 2, 99}), epochs=3)
    monkeypatch.undo()
    texts = [str(one.message) for one in told]
    assert any("JSONLinesLogger: 2 lines of" in text for text in texts)
    assert any("CSVLogger: rows of" in text for text in texts)
    assert any("RunRecord: what is known of the run" in text for text in texts)
    assert [value for _, value in px.read_run(tmp_path).numbers["loss"]] == history["loss"][:1]
