"""phlox launch, with programs that need no JAX: places in the environment, output, signals, ends and exit statuses."""

import os
import signal
import sys

import pytest

from phlox import cli
from phlox.cli import _launch
from phlox.cli._launch import launch

STAY = "import signal, sys; signal.alarm(60); signal.pause()"


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """What waits for others in kindness waits little here; a child that hangs is not waited for."""
    monkeypatch.setattr(_launch, "_GRACE", 0.2)
    monkeypatch.setattr(_launch, "_TERMINATION", 5.0)


def program(tmp_path, text):
    path = tmp_path / "program.py"
    path.write_text(text)
    return str(path)


def test_each_process_finds_its_place_its_arguments_and_its_cores(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    text = """
import json, os, sys
names = ("PHLOX_PROCESSES", "PHLOX_PROCESS", "JAX_LOCAL_DEVICE_IDS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
print(*[os.environ[name] for name in names], sys.argv[1:], len(os.environ["PHLOX_COORDINATOR"].split(":")))
print(os.environ["PHLOX_COORDINATOR"] == os.environ["JAX_COORDINATOR_BIND_ADDRESS"], file=sys.stderr)
"""
    arguments = ["launch", "--processes", "2", program(tmp_path, text), "--epochs", "3", "-m"]
    assert cli.main(arguments) == 0
    told = capfd.readouterr()
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    wanted = [f"[{n}] 2 {n} {n} 7 {threads} ['--epochs', '3', '-m'] 2" for n in range(2)]
    assert sorted(told.out.splitlines()) == wanted
    assert sorted(told.err.splitlines()) == ["[0] True", "[1] True"]


def test_modules_run_as_python_runs_them(tmp_path, capfd, monkeypatch):
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "train.py").write_text("import sys; print(__name__, __package__, *sys.argv[1:])")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert cli.main(["launch", "--processes", "1", "-m", "package.train", "--port", "3"]) == 0
    assert capfd.readouterr().out == "[0] __main__ package --port 3\n"


def test_lines_stay_whole_and_strange_bytes_are_shown(tmp_path, capfd):
    text = "import sys, os\nfor n in range(300): print(n, 'x' * 200)\nos.write(1, b'caf\\xe9 without an end')"
    assert launch([program(tmp_path, text)], 2) == 0
    lines = capfd.readouterr().out.splitlines()
    for number in range(2):
        mine = [line.removeprefix(f"[{number}] ") for line in lines if line.startswith(f"[{number}] ")]
        assert mine == [*[f"{n} {'x' * 200}" for n in range(300)], "caf� without an end"]


def test_where_one_ends_badly_all_end_with_its_status_and_its_last_lines(tmp_path, capfd):
    text = f"""
import os, sys
if os.environ["PHLOX_PROCESS"] == "1":
    for n in range(50): print("line", n, file=sys.stderr)
    sys.exit(3)
{STAY}
"""
    with pytest.raises(SystemExit) as caught:
        cli.main(["launch", "--processes", "3", program(tmp_path, text)])
    assert caught.value.code == 3
    told = capfd.readouterr().err
    end = told[told.index("phlox launch:") :].splitlines()
    assert end[0] == "phlox launch: process 1 ended with status 3, and so all were ended; the end of its errors:"
    assert end[1:] == [f"    line {n}" for n in range(30, 50)]


def test_one_that_ignores_sigterm_is_killed(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(_launch, "_TERMINATION", 0.2)
    text = f"""
import os, signal, sys
from pathlib import Path
ready = Path({str(tmp_path / "ready")!r})
if os.environ["PHLOX_PROCESS"] == "1":
    while not ready.exists(): pass
    os.kill(os.getpid(), signal.SIGKILL)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
ready.touch()
while True: signal.pause()
"""
    assert launch([program(tmp_path, text)], 2) == 128 + signal.SIGKILL
    assert "phlox launch: process 1 ended by SIGKILL, and so all were ended\n" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signals_are_handed_on(tmp_path, capfd, name):
    text = f"""
import os, signal, sys
from pathlib import Path
folder, mine = Path({str(tmp_path)!r}), os.environ["PHLOX_PROCESS"]
def came(number, frame):
    print("got", signal.Signals(number).name)
    sys.exit(0)
signal.signal(signal.SIGINT, came); signal.signal(signal.SIGTERM, came)
(folder / mine).touch()
if mine == "0":
    while not (folder / "1").exists(): pass
    os.kill(os.getppid(), signal.{name})
{STAY}
"""
    before = signal.getsignal(signal.SIGINT)
    assert launch([program(tmp_path, text)], 2) == 0
    assert sorted(capfd.readouterr().out.splitlines()) == [f"[0] got {name}", f"[1] got {name}"]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["launch", "train.py"], "the following arguments are required: --processes"),
        (["launch", "--processes", "0", "train.py"], "argument --processes: expected a whole number from 1"),
        (["launch", "--processes", "2"], "the following arguments are required: PROGRAM or -m MODULE"),
        (["launch", "--processes", "2", "-m"], "the following arguments are required: PROGRAM or -m MODULE"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_program_that_is_not_there_is_python_s_own_error(tmp_path, capfd):
    assert launch([str(tmp_path / "none.py")], 1) == 2
    assert "No such file or directory" in capfd.readouterr().err
    assert sys.executable
