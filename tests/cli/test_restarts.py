"""phlox launch --restarts, with programs that need no JAX: what is started again, when, how often, and what is not."""

import os
import signal

import pytest

from phlox import cli
from phlox.cli import _launch, _restarts
from phlox.cli._launch import launch
from phlox.cli._restarts import End, Restarts
from phlox.parallel import furthest, reached


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """Nobody is waited for in kindness, and a pause is over at once."""
    monkeypatch.setattr(_launch, "_GRACE", 0.2)
    monkeypatch.setattr(_restarts, "_FIRST", 0.01)
    monkeypatch.setattr(_restarts, "_LONGEST", 0.02)


# --- the policy --------------------------------------------------------------------------------------


def pauses(*ends, most=99):
    policy = Restarts(most)
    return [policy.behind(End(*end))[0] for end in ends]


def test_the_pause_grows_until_a_start_gets_further(monkeypatch):
    monkeypatch.setattr(_restarts, "_FIRST", 1.0)
    monkeypatch.setattr(_restarts, "_LONGEST", 60.0)
    assert pauses(*[(137, 5)] * 9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert pauses((137, 5), (137, 4), (137, 5), (137, 6), (137, 6)) == [1, 2, 4, 1, 2]
    assert pauses((137, None), (137, None), (137, 0), (137, 0)) == [1, 2, 1, 2]


@pytest.mark.parametrize("end", [(1, 12), (1, None), (2, 3), (127, 0)])
def test_an_error_that_comes_twice_in_a_row_at_one_step_is_the_last(end):
    assert pauses(end, end)[1] is None
    assert pauses(end, (end[0], 99), end)[2] is not None
    assert pauses(end, (3, end[1]), end)[2] is not None
    told = Restarts(3)
    told.behind(End(*end))
    at = "before a step was taken" if end[1] is None else f"at step {end[1]}"
    wanted = f"not started again: status {end[0]} came twice in a row {at}, and would come again"
    assert told.behind(End(*end)) == (None, wanted)


@pytest.mark.parametrize("status", [70, 134, 137, 138, 143])
def test_kills_losses_and_notices_may_come_wherever_they_like(status):
    assert None not in pauses(*[(status, 12)] * 20)


def test_so_many_and_no_more():
    policy = Restarts(2)
    told = [policy.behind(End(137, 3))[1] for _ in range(3)]
    assert told[0].endswith("1 of 2; step 3 was reached")
    assert told[1].endswith("2 of 2; step 3 was reached")
    assert told[2] == "not started again: 2 restarts are used up"
    assert pauses((137, 3), most=0) == [None]


def test_the_furthest_step_outlives_its_process(tmp_path, monkeypatch):
    assert furthest(tmp_path) is None
    reached(3)  # nobody wants to know
    monkeypatch.setenv("PHLOX_STEPS", str(tmp_path))
    reached(1000)
    reached(12)
    (tmp_path / "other").write_text(f"{7:20d}")
    (tmp_path / "torn").write_text("")
    assert furthest(tmp_path) == 12


# --- programs ----------------------------------------------------------------------------------------

HEAD = """
import os, signal, sys
from pathlib import Path
folder, me, start = Path(sys.argv[1]), os.environ["PHLOX_PROCESS"], int(os.environ["PHLOX_RESTART"])
with (folder / ("seen." + me)).open("a") as file: file.write(str(start))
def took(step): Path(os.environ["PHLOX_STEPS"], me).write_text(str(step))
"""
STAY = "signal.alarm(60); signal.pause()\n"


def program(tmp_path, text):
    path = tmp_path / "program.py"
    path.write_text(HEAD + text)
    return [str(path), str(tmp_path)]


def starts(tmp_path, process=0):
    return (tmp_path / f"seen.{process}").read_text()


def test_all_are_started_again_until_all_end_well(tmp_path, capfd):
    text = f"""
took(start)
if start < 2 and me == "1": os.kill(os.getpid(), signal.SIGKILL)
if start < 2: {STAY}
"""
    arguments = ["launch", "--processes", "2", "--restarts", "5", *program(tmp_path, text)]
    assert cli.main(arguments) == 0
    assert [starts(tmp_path, n) for n in range(2)] == ["012", "012"]
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("phlox launch:")]
    assert told == [
        "phlox launch: process 1 ended by SIGKILL, and so all were ended",
        "phlox launch: starting all again in 0 s, 1 of 5; step 0 was reached",
        "phlox launch: process 1 ended by SIGKILL, and so all were ended",
        "phlox launch: starting all again in 0 s, 2 of 5; step 1 was reached",
    ]


def test_the_status_is_that_of_the_last_start(tmp_path, capfd):
    assert launch(program(tmp_path, "sys.exit(3 + start)"), 1, restarts=2) == 5
    assert starts(tmp_path) == "012"
    assert "phlox launch: not started again: 2 restarts are used up\n" in capfd.readouterr().err


def test_an_error_that_comes_again_at_its_step_ends_it(tmp_path, capfd):
    text = "took((7, 9, 9)[start]); sys.exit(1)"
    assert launch(program(tmp_path, text), 1, restarts=9) == 1
    assert starts(tmp_path) == "012"
    assert "status 1 came twice in a row at step 9, and would come again\n" in capfd.readouterr().err


def test_a_step_of_an_earlier_start_is_not_one_of_the_next(tmp_path, capfd):
    text = "start or took(7); sys.exit(1)"
    assert launch(program(tmp_path, text), 1, restarts=9) == 1
    assert starts(tmp_path) == "012"
    assert "came twice in a row before a step was taken" in capfd.readouterr().err


def test_without_restarts_nothing_is_started_again_nor_told(tmp_path, monkeypatch):
    monkeypatch.delenv("PHLOX_STEPS", raising=False)
    path = tmp_path / "program.py"
    path.write_text("import os, sys; sys.exit(4 + ('PHLOX_STEPS' in os.environ) + ('PHLOX_RESTART' in os.environ))")
    assert launch([str(path)], 1) == 4


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_what_was_told_to_end_is_not_started_again(tmp_path, capfd, name):
    number = getattr(signal, name)
    text = f"""
def came(number, frame): sys.exit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1): signal.signal(number, came)
os.kill(os.getppid(), signal.{name})
{STAY}
"""
    before = signal.getsignal(number)
    assert launch(program(tmp_path, text), 1, restarts=9) == 128 + number
    assert starts(tmp_path) == "0"
    assert "start" not in capfd.readouterr().err.replace("restart", "")
    assert signal.getsignal(number) is before


def test_a_signal_while_a_start_is_waited_for_ends_it(tmp_path, monkeypatch):
    monkeypatch.setattr(_restarts, "_FIRST", 60.0)
    monkeypatch.setattr(_restarts, "_LONGEST", 60.0)
    looks = []

    def asleep(seconds):
        looks.append(seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(_launch.time, "sleep", asleep)
    assert launch(program(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)"), 1, restarts=9) == 137
    assert starts(tmp_path) == "0"
    assert len(looks) == 1


def test_a_worker_that_a_notice_ended_is_taken_up(tmp_path):
    text = "start or sys.exit(143)"
    assert launch(program(tmp_path, text), 1, restarts=1) == 0
    assert starts(tmp_path) == "01"


def test_a_number_below_0_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["launch", "--processes", "2", "--restarts", "-1", "train.py"])
    assert caught.value.code == 2
    assert "argument --restarts: expected a whole number from 0" in capsys.readouterr().err
