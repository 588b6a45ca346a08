"""phlox plan: a function of a file, planned, printed and written."""

import json

import pytest

from phlox import cli

MAKE = """
from neighbour import WIDTH

import phlox as px


def make():
    return {
        "model": lambda: px.Chain(px.Dense(WIDTH, 64, px.relu), px.Dense(64, 4)),
        "optimizer": px.optim.Adam(1e-3),
        "batch": (px.Spec(16, WIDTH), px.Spec(16, dtype="int32")),
        "loss": px.losses.cross_entropy,
    }


def short():
    return {"model": None}


def none():
    return None


number = 3
"""


@pytest.fixture
def source(tmp_path):
    (tmp_path / "neighbour.py").write_text("WIDTH = 32\n")
    path = tmp_path / "train.py"
    path.write_text(MAKE)
    return path


def test_a_plan_is_printed_and_written(source, tmp_path, capsys):
    out = tmp_path / "plan.json"
    command = ["plan", f"{source}:make", "--topology", "h100:2", "--price", "2.5", "--json", str(out)]
    assert cli.main([*command, "--strategy", "fsdp", "--strategy", "data_parallel", "--memory", "1"]) == 0
    told = capsys.readouterr()
    assert "h100:2 of 1.0 GiB each: " in told.out
    assert [line.partition(":")[0] for line in told.err.splitlines()] == ["fsdp()", "data_parallel()"]
    assert all("fits" in line for line in told.err.splitlines())
    numbers = json.loads(out.read_text())
    assert numbers["price"] == 2.5
    assert {row["strategy"] for row in numbers["rows"]} == {"fsdp()", "data_parallel()"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("train.py", "expects FILE.py:NAME"),
        ("gone.py:make", "expects a Python file"),
        ("train.py:absent", "expects a function absent"),
        ("train.py:number", "expects a function number"),
        ("train.py:short", "expects a dict of model, optimizer, batch, loss"),
        ("train.py:none", "got NoneType"),
    ],
)
def test_what_is_no_source_is_said(source, capsys, name, told):
    assert cli.main(["plan", str(source.parent / name), "--topology", "cpu:2"]) == 1
    assert told in capsys.readouterr().err
