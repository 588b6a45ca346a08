"""CONTRIBUTING: its section on adding a layer is a program, followed in a copy; its paths and commands are there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
SECTION = PAGE.partition("## Adding a layer\n")[2].partition("\n## ")[0]
STEPS = re.findall(r"^```python\n# (\S+), (at the end|below|instead of): ?([^\n]*)\n(.*?)^```$", SECTION, re.M | re.S)
COMMANDS = re.findall(r"^    (make .+)$", SECTION, re.MULTILINE)
LEFT_OUT = (".*", "__pycache__", "build", "dist", "runs", "*.jpg", "*.png")


def apply(root, file, how, line, code):
    """One step: code at the end of a file, below a line that stands once in it, or in its place."""
    path = root / file
    lines = path.read_text("utf-8").splitlines(keepends=True)
    if how == "at the end":
        lines.append(code)
    else:
        (at,) = (i for i, found in enumerate(lines) if found.strip() == line)
        lines[at] = code if how == "instead of" else lines[at] + code
    path.write_text("".join(lines), "utf-8")


def followed(root, steps=STEPS):
    """A copy of the repository in which the steps have been taken; its environment is the one that this runs in."""
    copy = root / "phlox"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    for step in steps:
        apply(copy, *step)
    (copy / "scripts" / "install").write_text("#!/bin/sh\n", "utf-8")
    return copy


def run(copy, command, **more):
    """A command of the page, in the copy."""
    environment = {**os.environ, "VENV": sys.prefix, "PYTHONPATH": str(copy / "src"), "JOBS": "0", **more}
    for name in ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST"):
        environment.pop(name, None)
    return subprocess.run(shlex.split(command), cwd=copy, env=environment, capture_output=True, text=True)


def verdicts(done):
    """The tests that a verbose run ran, without their folders, and what became of each."""
    return dict(re.findall(r"^\S*/(\S+\.py::.+?) (PASSED|FAILED|ERROR|SKIPPED)", done.stdout, re.MULTILINE))


CONTRACT = (
    "eager_equals_compiled_over_two_steps",
    "value_and_gradients_are_pytorchs",
    "half_precision_keeps_its_dtype_and_the_value",
    "plain_jax_takes_it",
    "vmap_over_rows_is_the_batch",
    "pure_view_is_lossless",
    "copies_and_files_hold_the_same_layer",
    "repr_is_the_constructor",
    "leading_axes_are_batch",
    "a_wrong_shape_names_path_and_layer",
    "every_layer_tells_what_its_parameters_are",
)
WHOLE = len(CONTRACT) + 3  # and the doctest, and that both seeded bugs fit


def test_a_layer_added_by_the_page_passes_what_the_page_says(tmp_path):
    assert len(STEPS) == SECTION.count("```python")
    assert len({step[0] for step in STEPS}) <= 4
    done = run(followed(tmp_path), COMMANDS[0], PYTEST_ADDOPTS="-vv")
    found = verdicts(done)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(found.values()) == {"PASSED"}
    assert len(found) == WHOLE
    for name in CONTRACT:
        assert any(re.search(rf"::test_{name}\[.*Snake", test) for test in found), name
    assert "_activations.py::phlox.nn.features._activations.Snake" in found
    assert sum("test_the_original_text_occurs_once[Snake" in test for test in found) == 2


@pytest.mark.soak
@pytest.mark.parametrize("command", COMMANDS[1:])
def test_the_other_commands_pass_too(command, tmp_path):
    done = run(followed(tmp_path), command)
    assert done.returncode == 0, done.stdout + done.stderr
    if "mutants" in command:
        assert done.stdout.rstrip().endswith("2 of 2 killed")


@pytest.mark.soak
@pytest.mark.parametrize("left_out", range(len(STEPS)))
def test_no_step_can_be_left_out(left_out, tmp_path):
    """Without any one step the first command fails, or runs fewer tests, or the style is broken."""
    copy = followed(tmp_path, [step for i, step in enumerate(STEPS) if i != left_out])
    done = run(copy, COMMANDS[0], PYTEST_ADDOPTS="-vv")
    assert done.returncode != 0 or len(verdicts(done)) < WHOLE or run(copy, f"{sys.prefix}/bin/ruff check .").returncode


def test_the_paths_are_there():
    table = PAGE.partition("## Where things are\n")[2].partition("\n## ")[0]
    paths = [*re.findall(r"\]\(([^)#]+)\)", PAGE), *re.findall(r"`((?:src|tests|native|docs)/[\w/.*]*)`", PAGE)]
    assert len(paths) > 40
    for path in paths:
        assert list(ROOT.glob(path.rstrip("/"))), path
    for what in ("callback", "reader", "kernel", "transform", "loss", "optimiser rule"):
        assert re.search(rf"^\| an? {what}", table, re.MULTILINE), what


def test_the_commands_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", PAGE)) | {command.split()[1] for command in COMMANDS} <= targets
    listed = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert listed - {"help", "quickstart", "clean"} <= set(re.findall(r"`make ([a-z-]+)", PAGE))
