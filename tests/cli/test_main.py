"""The command line: what a user sees for each way to call it, right or wrong."""

import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit import AS_USERS_COMPILE
from phlox import cli
from phlox.cli import _main

ROOT = Path(__file__).parents[2]


def phlox(*arguments, **options):
    """Run ``python -m phlox`` in a process of its own, which is to give no warning."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "JAX_PLATFORMS": "cpu", **AS_USERS_COMPILE}
    command = [sys.executable, "-W", "error", "-m", "phlox", *map(str, arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(command, env=environment, text=True, check=False, **options)


def test_version_is_the_installed_one():
    done = phlox("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("phlox ")
    assert done.stdout.split()[1][0].isdigit() or done.stdout == "phlox unknown\n"


def test_without_a_command_usage_is_shown(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 2
    assert "the following arguments are required: COMMAND" in capsys.readouterr().err


def test_help_names_the_command_and_its_defaults(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["quickstart", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(part in text for part in ("--out DIR", "runs/quickstart", "--epochs N", "[20]", "--seed S"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quickstart", "--epochs", "0"], "argument --epochs: expected a whole number from 1 to 2147483647, got '0'"),
        (["quickstart", "--epochs", "x"], "argument --epochs: expected a whole number from 1 to 2147483647, got 'x'"),
        (["quickstart", "--seed", "-1"], "argument --seed: expected a whole number from 0 to 2147483647, got '-1'"),
        (["quickstart", "--seed", "1.5"], "got '1.5'"),
        (["quickstart", "--sede", "1"], "unrecognized arguments: --sede 1"),
        (["quikstart"], "argument COMMAND: invalid choice: 'quikstart'"),
    ],
)
def test_wrong_arguments_exit_with_2_and_one_message(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def fake(monkeypatch):
    """Put a function in the place of the quickstart."""

    def put(error):
        def quickstart(*_):
            raise error

        monkeypatch.setattr(_main, "quickstart", quickstart)

    return put


def test_ctrl_c_is_one_line_and_130(fake, capsys):
    fake(KeyboardInterrupt())
    assert cli.main(["quickstart"]) == 130
    assert capsys.readouterr() == ("", "phlox: stopped by Ctrl-C; nothing was written\n")


def test_a_bug_is_not_swallowed(fake):
    fake(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["quickstart"])


def test_a_full_standard_output_is_one_message(tmp_path):
    with open("/dev/full", "w") as full:
        done = phlox(
            "quickstart",
            "--epochs",
            "1",
            "--out",
            str(tmp_path / "a"),
            stdout=full,
            stderr=subprocess.PIPE,
            capture_output=False,
        )
    assert done.returncode == 1
    assert done.stderr == f"phlox: {OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))}\n"
    assert os.listdir(tmp_path) == []


def test_a_reader_that_went_away_ends_the_run_in_silence(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = phlox(
        "quickstart",
        "--epochs",
        "1",
        "--out",
        str(tmp_path / "a"),
        stdout=writing,
        stderr=subprocess.PIPE,
        capture_output=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("module", "package"), [("sklearn.datasets", "scikit-learn"), ("matplotlib.figure", "matplotlib")]
)
def test_a_missing_package_names_the_extra_and_leaves_no_folder(module, package, tmp_path, monkeypatch, capsys):
    def import_module(name, *rest):
        if name == module:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        return original(name, *rest)

    original = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", import_module)
    assert cli.main(["quickstart", "--out", str(tmp_path / "a" / "b")]) == 1
    assert capsys.readouterr().err == (
        f"phlox: phlox quickstart expects {package}, got No module named {module!r}\n"
        "  fix: pip install 'phlox[quickstart]'\n"
    )
    assert os.listdir(tmp_path) == []
