"""The README: its code runs without a warning and prints what stands there, and its claims are so."""

import contextlib
import importlib
import io
import json
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import phlox as px
import phlox.weights
from kit import oracle

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", README, re.MULTILINE | re.DOTALL)
ROWS = re.findall(r"^\| (.+?) \| (.+?) \| (yes|not yet) \|$", README, re.MULTILINE)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """All blocks, run in one folder: the folder, their names, and what each printed."""
    folder, namespace, shown = tmp_path_factory.mktemp("readme"), {"__name__": "__main__"}, []
    with contextlib.chdir(folder):
        for code, _ in BLOCKS:
            with contextlib.redirect_stdout(io.StringIO()) as text:
                exec(compile(code, "README.md", "exec"), namespace)
            shown.append(text.getvalue())
    return folder, namespace, shown


def test_every_block_prints_what_stands_below_it(ran):
    assert len(BLOCKS) == README.count("```python") == README.count("```text") == 6
    assert ran[2] == [expected for _, expected in BLOCKS]


def test_the_example_learns_and_the_unseen_points_agree(tmp_path, monkeypatch):
    """The circle is known in closed form, so new points measure what was learned."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(BLOCKS[0][0], "README.md", "exec"), namespace)
    np = importlib.import_module("numpy")
    x = np.random.default_rng(1).uniform(-1, 1, (2000, 2)).astype("float32")
    inside = (x**2).sum(1) < 0.5
    assert np.mean(np.asarray(namespace["model"](x)).argmax(-1) == inside) > 0.95


def test_what_it_exports_is_served_as_it_says(ran):
    for package in ("uvicorn", "httptools", "prometheus_client"):
        oracle(package)
    folder, namespace, _ = ran
    [serve, *asking] = re.findall(r"^(phlox .*) &$|^(curl .*)  #", README, re.MULTILINE)
    command = [sys.executable, "-m", *serve[0].replace("8501", "0").split()]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder)
    try:
        told = next(json.loads(line) for line in process.stderr if '"serving"' in line)
        answers = []
        for _, line in asking:
            _, url, flag, body = shlex.split(line)
            assert flag == "-d"
            url = url.replace("http://127.0.0.1:8501", told["url"])
            with urllib.request.urlopen(url, body.encode(), timeout=30) as answer:
                answers.append(json.load(answer))
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()
    one, rows = answers
    assert one["class"] == "inside"
    np = importlib.import_module("numpy")
    found = np.asarray(rows["predictions"])
    np.testing.assert_allclose(found, namespace["model"](np.float32([[0.1, 0.2], [1, 1]])), atol=1e-4)
    assert found.argmax(-1).tolist() == [1, 0]


@pytest.mark.parametrize(("names", "there"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_table_says_what_there_is(names, there):
    for name in re.findall(r"`px\.([\w.]+)`", names):
        found = px
        for part in name.split("."):
            found = getattr(found, part, None)
        assert (found is not None) == (there == "yes"), name


def test_the_table_is_read_whole():
    lines = [line for line in README.splitlines() if line.startswith("| ") and "|---" not in line]
    assert len(lines) == len(ROWS) + 1  # the head
    assert len(ROWS) > 15


def test_links_and_pictures_lead_somewhere():
    targets = re.findall(r"\]\((?!https?:)([^)]+)\)", README)
    assert "docs/images/quickstart.png" in targets
    for target in targets:
        file, _, heading = target.partition("#")
        assert (ROOT / file).is_file(), target
        headings = re.findall(r"^#+ (.+)$", (ROOT / file).read_text("utf-8"), re.MULTILINE) if heading else []
        assert not heading or heading in {found.lower().replace(" ", "-") for found in headings}, target


def test_it_says_where_to_add_what():
    where = README.partition("## Where things are\n")[2].partition("\n## ")[0]
    rooms = dict(re.findall(r"(?:- |; )an? ([\w ]+): \[`(\S+)`\]", where))
    assert rooms["callback"] == "loop/callbacks/"
    assert {"reader of data", "kernel", "transform", "loss", "optimiser rule", "layer"} <= rooms.keys()
    for room in rooms.values():
        assert (ROOT / "src" / "phlox" / room).is_dir() or (ROOT / room).is_dir(), room


def test_the_commands_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for command in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert f"\n{command}:" in makefile
