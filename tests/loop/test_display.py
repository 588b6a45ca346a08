"""What a training prints: lines where there is no terminal, a bar where there is one, nothing where nobody asks."""

import io
import re

import pytest
import rich.console

import phlox as px
from loop.loops import batches, mlp
from phlox.loop import _display

OPTIONS = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Descent(0.1)}


def test_plain_lines_for_each_epoch(capsys, monkeypatch):
    monkeypatch.setattr(_display, "_EVERY_PLAIN", 0.0)
    px.fit(mlp(), batches(4), epochs=2, multi_step=2, validation_data=batches(1), progress="plain", **OPTIONS)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line.split("  ")[:2] for line in lines] == [
        ["epoch 1/2", "step 2/4"], ["epoch 1/2", "step 4/4"], ["epoch 1/2", "step 4"],
        ["epoch 2/2", "step 2/4"], ["epoch 2/2", "step 4/4"], ["epoch 2/2", "step 8"],
    ]  # fmt: skip
    assert re.search(r"loss \d\.\d+  .*val_loss \d\.\d+  \d.* s  [\d,]+ examples/s", lines[2])


def test_a_bar_in_a_terminal(monkeypatch):
    written = io.StringIO()
    real = rich.console.Console
    monkeypatch.setattr(rich.console, "Console", lambda **_: real(file=written, force_terminal=True, width=120))
    monkeypatch.setattr(_display, "_EVERY", 0.0)
    px.fit(mlp(), batches(4), multi_step=1, progress=True, **OPTIONS)
    text = written.getvalue()
    assert "4/4" in text
    assert re.search(r"epoch 1/1  step 4  loss \d\.\d+", text)


def test_nothing_where_nobody_asks(capsys):
    px.fit(mlp(), batches(2), progress=False, **OPTIONS)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("seconds", "text"), [(0.44, "0.4 s"), (12.3, "12 s"), (187, "3:07"), (3723, "1:02:03")])
def test_times_are_written_as_people_do(seconds, text):
    assert _display._time(seconds) == text
