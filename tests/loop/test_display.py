"""What a training prints: lines where there is no terminal, a bar where there is one, nothing where nobody asks."""

import io
import re
from types import SimpleNamespace

import pytest
import rich.console

import phlox as px
from loop.loops import batches, mlp
from phlox.loop import _run
from phlox.loop.logs import _display

OPTIONS = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Descent(0.1)}


def test_plain_lines_for_each_epoch(capsys, monkeypatch):
    monkeypatch.setattr(_display, "_EVERY_PLAIN", 0.0)
    px.fit(mlp(), batches(4), epochs=2, multi_step=2, validation_data=batches(1), progress="plain", **OPTIONS)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line.split("  ")[:2] for line in lines] == [
        ["epoch 1/2", "step 2/4"], ["epoch 1/2", "step 4/4"], ["epoch 1/2", lines[2].split("  ")[1]],
        ["epoch 2/2", "step 2/4"], ["epoch 2/2", "step 4/4"], ["epoch 2/2", lines[5].split("  ")[1]],
    ]  # fmt: skip
    assert re.fullmatch(r"epoch 1/2  loss \d\.\d+/\d\.\d+  \d.* s  [\d.]+k?/s", lines[2])


def test_a_bar_in_a_terminal(monkeypatch):
    written = io.StringIO()
    real = rich.console.Console
    monkeypatch.setattr(rich.console, "Console", lambda **_: real(file=written, force_terminal=True, width=120))
    monkeypatch.setattr(_display, "_EVERY", 0.0)
    px.fit(mlp(), batches(4), multi_step=1, progress=True, **OPTIONS)
    text = written.getvalue()
    assert "4/4" in text
    assert re.search(r"epoch 1/1  loss \d\.\d+", text)


def test_a_line_for_an_epoch_with_two_metrics_fits_into_100_columns():
    row = {"epoch": 9, "step": 9380, "loss": 0.023456, "accuracy": 0.99123, "f1": 0.99071}
    row |= {f"val_{name}": 0.9 * row[name] for name in ("loss", "accuracy", "f1")} | {"val_auc": 0.5}
    shown = _display._numbers(row)
    assert shown == ["loss 0.02346/0.02111", "accuracy 0.9912/0.8921", "f1 0.9907/0.8916", "val_auc 0.5"]
    assert len("  ".join(["epoch 10/10", *shown[:3], "12 s", "65.4k/s"])) < 100


@pytest.mark.parametrize(("speed", "text"), [(0.0, ""), (950.4, "950/s"), (65432.1, "65.4k/s"), (2.5e6, "2.5M/s")])
def test_speeds_are_short(speed, text):
    assert _display._speed(SimpleNamespace(examples_per_second=speed)) == text


def test_the_speed_leaves_compilation_and_validation_out(monkeypatch):
    """On a clock that a hook moves: each call of the program takes a second, its compilation an hour."""
    clock, speeds = [0.0], []
    monkeypatch.setattr(_run.time, "perf_counter", lambda: clock[0])

    class Clock(px.Callback):
        def on_step_start(self, run):
            clock[0] += 3600.0 if run.step == 0 else 1.0

        def on_validation_start(self, run):
            clock[0] += 60.0

        def on_epoch_end(self, run):
            speeds.append(run.examples_per_second)

    px.fit(mlp(), batches(4), epochs=2, validation_data=batches(1), callbacks=[Clock()], progress=False, **OPTIONS)
    assert speeds == [6.0, 6.0]


def test_nothing_where_nobody_asks(capsys):
    px.fit(mlp(), batches(2), progress=False, **OPTIONS)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("seconds", "text"), [(0.44, "0.4 s"), (12.3, "12 s"), (187, "3:07"), (3723, "1:02:03")])
def test_times_are_written_as_people_do(seconds, text):
    assert _display._time(seconds) == text
