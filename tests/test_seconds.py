"""The table of seconds at the end of a run: by folder, over all processes, kept for the next run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from seconds import Seconds, area_of, watch

CONFTEST = "import seconds\n\ndef pytest_configure(config):\n    seconds.watch(config)\n"
SLOW = """
import time, pytest

@pytest.fixture
def wanted():
    time.sleep(0.15)

@pytest.mark.parametrize("i", range(4))
def test_slow(i, wanted):
    time.sleep(0.15)
"""


@pytest.fixture
def run(tmp_path):
    """A run of two small folders of tests on two processes: what it printed."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for name, text in (("slow/deep", SLOW), ("fast", "def test_fast():\n    pass\n")):
        (tmp_path / "tests" / name).mkdir(parents=True)
        (tmp_path / "tests" / name / f"test_{name[:4]}.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-n", "2"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_fixtures_and_calls_are_added_up_over_processes_and_kept(run, tmp_path):
    seconds = {area: float(s) for s, area in re.findall(r"^ +([\d.]+)  (tests/\w+) ", run, re.MULTILINE)}
    assert list(seconds) == ["tests/slow", "tests/fast"]
    assert seconds["tests/slow"] >= 1.2
    assert re.search(r"tests/slow +4 tests$", run, re.MULTILINE)
    assert run.splitlines()[-1].startswith("5 passed")  # what reads the closing line still finds it
    (line,) = (tmp_path / "build/seconds.jsonl").read_text().splitlines()
    kept = json.loads(line)
    assert kept["tests"] == {"tests/slow": 4, "tests/fast": 1}
    assert kept["arguments"] == ["-q", "-p", "xdist", "-n", "2"]
    assert kept["seconds"]["tests/slow"] == pytest.approx(seconds["tests/slow"], abs=0.06)


class Terminal:
    """What a terminal reporter is to the plugin."""

    def __init__(self):
        self.lines = []

    def section(self, title):
        self.lines.append(title)

    write_line = section


def reported(plugin, *reports):
    """What the plugin prints of reports (test, phase, seconds)."""
    for nodeid, when, duration in reports:
        plugin.pytest_runtest_logreport(SimpleNamespace(nodeid=nodeid, when=when, duration=duration))
    terminal = Terminal()
    plugin.pytest_terminal_summary(terminal)
    return terminal.lines


def test_the_last_run_with_the_same_arguments_stands_beside(tmp_path):
    file = tmp_path / "build" / "seconds.jsonl"
    test = "tests/core/test_a.py::test_b"
    for seconds in (1.0, 2.0):
        reported(Seconds(file, ["-n", "2"]), (test, "setup", 0.25), (test, "call", seconds), (test, "teardown", 0.25))
    reported(Seconds(file, ["-k", "b"]), (test, "setup", 9.0))
    lines = reported(Seconds(file, ["-n", "2"]), (test, "setup", 0.0), (test, "call", 4.0))
    assert lines[1] == "     4.0  tests/core                    1 tests  (2.5 before)"
    assert len(file.read_text().splitlines()) == 4


@pytest.mark.parametrize(("cached", "worker", "kept", "counts"), [(1, 0, 1, 1), (0, 0, 0, 1), (1, 1, 0, 0)])
def test_who_counts_and_who_keeps(cached, worker, kept, counts, tmp_path):
    """A run without a cache leaves nothing; processes that report to another one do not count."""
    registered = []
    manager = SimpleNamespace(hasplugin=lambda name: name == "cacheprovider" and cached, register=registered.append)
    parameters = SimpleNamespace(args=("-x",))
    config = SimpleNamespace(rootpath=tmp_path, pluginmanager=manager, invocation_params=parameters)
    if worker:
        config.workerinput = {}
    watch(config)
    assert len(registered) == counts
    for plugin in registered:
        reported(plugin, ("tests/core/test_a.py::test_b", "call", 1.0))
    assert (tmp_path / "build").exists() == kept


def test_nothing_is_printed_of_no_tests():
    assert reported(Seconds(None, [])) == []


@pytest.mark.parametrize(
    ("nodeid", "area"),
    [
        ("tests/core/mistakes/test_a.py::test_b[c/d]", "tests/core"),
        ("tests/test_parity.py::test_x", "tests"),
        ("tests/areas/tensorflow/test_a.py::test_b", "tests/areas/tensorflow"),
        ("src/phlox/nn/features/_dense.py::phlox.nn.Dense", "src/phlox"),
    ],
)
def test_the_folder_of_a_test(nodeid, area):
    assert area_of(nodeid) == area
