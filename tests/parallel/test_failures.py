"""Two processes and more of which one dies, hangs, is slow, brings NaN, or is told to end."""

import json
import os
import re
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from phlox.cli import _restarts
from phlox.cli._launch import launch
from phlox.loop import _whose

PROGRAM = Path(__file__).resolve().parent / "failures.py"
HOST = socket.gethostname()


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Processes of the program, what each of them wrote, and where."""

    def run(scenarios, *more, processes=2, restarts=0):
        folder, before = tmp_path_factory.mktemp("failures"), dict(os.environ)
        first, _restarts._FIRST = _restarts._FIRST, 0.01
        os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "PYTHONWARNINGS": "error"}
        try:
            status = launch([str(PROGRAM), scenarios, str(folder), *more], processes, restarts=restarts)
        finally:
            _restarts._FIRST = first
            os.environ.clear()
            os.environ |= before
        files = [folder / f"{n}.json" for n in range(processes)]
        return status, [json.loads(file.read_text()) if file.exists() else None for file in files], folder

    return run


@pytest.fixture(scope="module")
def two(launched):
    """What two processes saw, that were killed once and started again, and then did one thing after the other."""
    status, found, folder = launched("restarted,not_finite,slow_and_told_to_end", restarts=1)
    assert status == 0
    return *found, folder


def test_a_killed_training_goes_on_by_itself_and_ends_bit_for_bit(two):
    for found in two[:2]:
        assert 3 <= found["restarted"]["first"] <= 5  # the end of an epoch, or what process 0 had done besides
        assert found["restarted"]["ended"] == found["restarted"]["straight"]
        assert len(found["restarted"]["ended"]["losses"]) == 9


def assert_named(told, notes, step, process, layer):
    where, _, what = told.partition("): ")
    who = rf"in the rows of process {process} \({re.escape(HOST)}, cpu:\d+"
    assert re.fullmatch(rf"px.fit, epoch 1, step {step}, {who}", where), told
    assert what.startswith(f"{layer} expects finite values, got "), told
    assert sum("processes 0, 1 have such rows" in note for note in notes) == (process == 0)


def test_the_process_is_named_whose_rows_are_not_finite(two):
    first, second, _ = two
    told, *notes = first["not_finite"]
    assert second["not_finite"] == [told, *notes]
    assert_named(told, notes, 2, 1, "model.layers[0] Dense(4 → 8, tanh)")
    assert any("column 2, in 1 of 4 examples, the first 1" in note for note in notes)


def told_by(monkeypatch, *of_each):
    """The error of process 0 where each process found this in its rows."""
    told = [json.dumps(one) for one in of_each]
    group = SimpleNamespace(gathered=lambda name, mine, where, what: [mine, *told[1:]])
    together = SimpleNamespace(group=group, name="meeting 1")
    monkeypatch.setattr(_whose, "_of_own_rows", lambda run, together: json.loads(told[0]))
    return _whose.whose(SimpleNamespace(together=together, step=7), "px.fit, epoch 2")


def test_of_several_the_first_is_named_and_all_are_told(monkeypatch):
    found = [{"who": f"process {n} (node{n}, cuda:{n})", "where": "model", "got": f"NaN of {n}"} for n in range(4)]
    error = told_by(monkeypatch, {}, found[1], {}, {**found[3], "notes": ["look at the data"]})
    place = "px.fit, epoch 2, step 7, in the rows of process 1 (node1, cuda:1): model"
    assert str(error) == f"{place} expects finite values, got NaN of 1"
    assert error.__notes__ == ["processes 1, 3 have such rows in this step"]
    assert error.everywhere  # so nobody waits for another one that would say so too
    (note,) = told_by(monkeypatch, {}, {**found[1], "notes": ["look at the data"]}).__notes__
    assert note == "look at the data"


def test_where_each_finds_its_own_finite_the_error_says_so(monkeypatch):
    told = str(told_by(monkeypatch, {}, {}))
    assert told.startswith(
        "px.fit, epoch 2, step 7 expects finite values, got a loss or a gradient that is not, though"
    )


def test_a_slow_process_is_named_once(two):
    first, second, _ = two
    (told,) = first["slow_and_told_to_end"]["warnings"]
    who = rf"px.fit: process 1 \({re.escape(HOST)}, cpu:\d+\) keeps the others waiting: between two steps it needs 0\."
    assert re.match(who, told), told
    assert second["slow_and_told_to_end"]["warnings"] == []


def test_a_notice_to_one_has_all_save_and_end_and_slurm_queue_the_job(two):
    first, second, folder = two
    first, second = first["slow_and_told_to_end"], second["slow_and_told_to_end"]
    assert first["status"] == second["status"] == 128 + signal.SIGUSR1
    assert first["step"] == second["step"] > first["told"] >= 20
    assert second["told"] is None  # it came to process 0 alone
    assert (folder / "requeued").read_text() == "requeue 7\n"  # by process 0 alone


# --- for the long run ----------------------------------------------------------------------------------


@pytest.mark.soak
def test_whose_rows_are_not_finite_in_any_form_of_data_and_of_loss(launched):
    status, (first, second), _ = launched("not_finite_otherwise")
    found = first["not_finite_otherwise"]
    assert status == 0
    assert second["not_finite_otherwise"] == found
    for name, step, process, layer in (
        ("both", 1, 0, "layers.0.weight"),
        ("batches", 2, 1, "model.layers[0] Dense(4 → 8, tanh)"),
        ("last", 3, 1, "model.layers[0] Dense(4 → 8, tanh)"),
        ("gradient", 1, 0, "model Chain"),
    ):
        told, *notes = found[name]
        assert_named(told, notes, step, process, layer)
    assert found["sum"][0].startswith(
        "px.fit, epoch 1, step 1 expects finite values, got a loss or a gradient that is not, though each process "
    )


@pytest.mark.soak
@pytest.mark.parametrize(("processes", "seed"), [(2, 2), (4, 46)])
def test_ten_random_kills_end_bit_for_bit(launched, processes, seed):
    status, found, folder = launched("many_kills", str(seed), "10", processes=processes, restarts=10)
    assert status == 0
    kinds = [(folder / f"kill.{n}.0").read_text().split() for n in range(10)]
    assert {kind for kind, *_ in kinds} == {"step", "time", "file"}
    assert {int(victim) for _, victim, _ in kinds} == set(range(processes))
    for one in found:
        assert one["many_kills"]["start"] == 10
        assert one["many_kills"]["ended"] == one["many_kills"]["straight"]


@pytest.mark.soak
def test_one_that_waits_for_nothing_is_named_and_ends_all_in_time(launched, capfd):
    status, _, folder = launched("hanging")
    seconds = time.time() - (folder / "since").stat().st_mtime
    told = capfd.readouterr().err
    assert status in (1, 70)
    assert re.search(rf"got process 1 \({HOST}, cpu:\d+\), in its callbacks behind step 3, for ", told)
    assert "process 1 stands here, and does not go on:" in told
    assert "self.act()" in told
    assert seconds < 4 + 2 + 10 + 20 + 5  # the bound, looks, grace, what the launcher gives, and to end


@pytest.mark.soak
@pytest.mark.parametrize("name", ["stopped", "first_stopped"])
def test_one_that_the_system_stopped_ends_all_in_time(launched, capfd, name):
    status, _, folder = launched(name)
    seconds = time.time() - (folder / "since").stat().st_mtime
    told = capfd.readouterr().err
    assert status in (1, 70)
    lost = "no sign of life from process 1" if name == "stopped" else "no answer from process 0, where all meet"
    assert lost in told
    assert seconds < 2 * 2 + 10 + 20 + 5  # twice the heartbeat, grace, what the launcher gives, and to end
    for n in range(2):
        with pytest.raises(ProcessLookupError):
            os.kill(int((folder / f"pid.{n}").read_text()), 0)


@pytest.mark.soak
def test_a_notice_that_jax_hears_of_has_all_save_behind_one_step(launched):
    status, (first, second), _ = launched("preempted")
    assert status == 0
    assert first["preempted"]["status"] == second["preempted"]["status"] == 128 + signal.SIGTERM
    assert first["preempted"]["step"] == second["preempted"]["step"] >= 4
