"""What an editor tells a user: the types of typical lines, and mistakes before anything runs; by two checkers."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import phlox as px

HERE = Path(__file__).parent
SOURCE = Path(px.__file__).parents[1]
LINES = HERE / "typical_lines.py"
Said = list[tuple[int, str]]  # messages, each with its line


def run(*command: str, **env: str) -> str:
    told = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        cwd=HERE, env={**os.environ, **env}, capture_output=True, text=True,
    )  # fmt: skip
    assert not told.stderr, told.stderr
    return told.stdout


def pyright(tmp_path: Path) -> Said:
    del tmp_path
    said = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable, PYTHONPATH=str(SOURCE)))
    return [(e["range"]["start"]["line"] + 1, e["message"]) for e in said["generalDiagnostics"]]


def mypy(tmp_path: Path) -> Said:
    where = ("--cache-dir", str(tmp_path), "--python-executable", sys.executable)
    said = run("mypy", *where, "--config-file", "mypy.ini", LINES.name, MYPYPATH=str(SOURCE))
    return [(int(n), message) for n, message in re.findall(r"^\w+\.py:(\d+): error: (.*)$", said, re.MULTILINE)]


@pytest.mark.parametrize("checker", [pyright, mypy])
def test_types_and_mistakes_are_seen(checker, tmp_path):
    """Lines have the types asserted there; each mistake is found, and its message names what is wrong."""
    lines = enumerate(LINES.read_text("utf-8").splitlines(), 1)
    wanted = {n: line.partition("# wanted: ")[2] for n, line in lines if "# wanted: " in line}
    said = checker(tmp_path)
    assert len(wanted) > 20
    assert [(n, message) for n, message in said if n not in wanted] == []
    named = {n for n, message in said if n in wanted and wanted[n].lower() in message.lower()}
    assert {n: word for n, word in wanted.items() if n not in named} == {}


def test_a_class_with_types_in_brackets_makes_the_same_model():
    """``px.Chain[px.Dense](…)`` leaves no trace in the model: equal structure, one program, and it saves."""
    plain, bracketed = px.Chain(px.Dense(2, 3)), px.Chain[px.Dense](px.Dense(2, 3))
    assert vars(bracketed).keys() == {"layers"}
    assert jax.tree.structure(bracketed) == jax.tree.structure(plain)
    assert not hasattr(bracketed, "__orig_class__")
