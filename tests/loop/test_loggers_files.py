"""Loggers that write plain files: rows and lines that pandas reads, whole, and going on after a resume."""

import json
import os

import numpy as np
import pandas as pd
import pytest

import phlox as px

X = np.linspace(-1, 1, 32, dtype="float32")[:, None]


def trained(callbacks, epochs=3, **options):
    with px.seed(0):
        model = px.Dense(1, 1)
    return px.fit(
        model, (X, 2 * X), loss=px.losses.mse, optimizer=px.optim.Descent(0.1), epochs=epochs, callbacks=callbacks,
        progress=False, **options,
    )  # fmt: skip


class Interruption(px.Callback):
    """Ends the run when an epoch starts, after logging what a resumed run must not have twice."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_start(self, run):
        if run.epoch == self.epoch:
            run.log("doomed", 1.0)
            raise KeyboardInterrupt


def lines_of(path):
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_a_row_for_each_epoch(tmp_path):
    history = trained([px.CSVLogger(tmp_path / "deep" / "table.csv")])
    table = pd.read_csv(tmp_path / "deep" / "table.csv")
    assert list(table.columns) == history.names
    np.testing.assert_array_equal(table["loss"], history["loss"])
    assert not list(tmp_path.glob("**/*.part"))


def test_a_column_that_comes_later_is_empty_before(tmp_path):
    late = px.LambdaCallback(on_epoch_end=lambda run: run.epoch == 1 and run.log("late", 7.0))
    trained([late, px.CSVLogger(tmp_path / "table.csv")])
    assert pd.read_csv(tmp_path / "table.csv")["late"].tolist()[1] == 7.0
    assert pd.read_csv(tmp_path / "table.csv")["late"].isna().tolist() == [True, False, True]


def test_everything_logged_is_a_line(tmp_path):
    noted = px.LambdaCallback(on_epoch_end=lambda run: run.log("noted", [np.nan, np.inf, -np.inf][run.epoch]))
    history = trained([noted, px.JSONLinesLogger(tmp_path / "log.jsonl")])
    lines = lines_of(tmp_path / "log.jsonl")
    assert [line["loss"] for line in lines if "loss" in line] == history["loss"]
    assert [line["noted"] for line in lines if "noted" in line] == ["NaN", "Infinity", "-Infinity"]
    assert [line["step"] for line in lines if "noted" in line] == [1, 2, 3]


def test_a_log_dir_has_both(tmp_path):
    history = trained([], log_dir=tmp_path)
    np.testing.assert_array_equal(pd.read_csv(tmp_path / "history.csv")["loss"], history["loss"])
    assert [line["loss"] for line in lines_of(tmp_path / "log.jsonl")] == history["loss"]


def test_a_resumed_run_writes_what_the_whole_run_writes(tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "resumed"
    trained([], log_dir=whole)
    saved = dict(checkpoint_dir=tmp_path / "saved", log_dir=folder)
    assert trained([Interruption(2)], **saved).interrupted
    assert "doomed" in (folder / "log.jsonl").read_text()
    trained([], resume=True, **saved)
    assert (folder / "history.csv").read_text() == (whole / "history.csv").read_text()
    ours, theirs = lines_of(folder / "log.jsonl"), lines_of(whole / "log.jsonl")
    assert [{**line, "time": 0} for line in ours] == [{**line, "time": 0} for line in theirs]


def test_a_new_run_loses_nothing_of_an_old_one(tmp_path):
    for _ in range(3):
        trained([], epochs=1, log_dir=tmp_path)
    files = ("history{}.csv", "log{}.jsonl", "run{}.json")
    names = {file.format(number) for file in files for number in ("", ".1", ".2")}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_lines_are_handed_over_whole(tmp_path, monkeypatch):
    written = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: written.append(data) or write(file, data))
    logger = px.JSONLinesLogger(tmp_path / "log.jsonl")
    logger.on_fit_start(px.Run(px.Dense(1, 1), None))
    logger.log_scalars(3, {"loss": 0.5})
    monkeypatch.undo()
    logger.on_fit_end(None)
    (line,) = written
    assert json.loads(line)["loss"] == 0.5
    assert line.endswith(b"\n")


@pytest.mark.parametrize("kind", [px.CSVLogger, px.JSONLinesLogger, px.TensorBoardLogger])
def test_a_logger_without_a_place(kind):
    with pytest.raises(px.StructureError, match=f"{kind.__name__} expects a path, or a log_dir of px.fit, got neither"):
        trained([kind()])
