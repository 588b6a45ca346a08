"""Killed at any instant and resumed, a training ends bit for bit as if nothing had happened."""

import random
import time

import pytest

from kit import oracle
from loop.trainings import KILLED, TERMINATED, Trainings

oracle("orbax.checkpoint")


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    trainings = Trainings(tmp_path_factory.mktemp("trainings"))
    yield trainings
    trainings.end()


@pytest.fixture(scope="module")
def whole(trainings):
    """How trainings end that nothing interrupts: over three epochs, and over 13 steps."""
    assert [trainings.run("whole"), trainings.run("steps", **BY_STEPS)] == [0, 0], trainings.complaints()
    assert trainings.result("whole")["values"]["step"] == 15
    return {"epochs": trainings.result("whole"), "steps": trainings.result("steps")}


BY_STEPS = {"steps": 13, "epochs": 1, "every": 3}


def test_kills_signals_and_errors_in_a_row_change_nothing(trainings, whole):
    """One training is killed in a step, while files are written, and in validation; then interrupted, and in error."""
    ends = [
        trainings.run("killed", stop="step 3"),
        trainings.run("killed", event=random.Random(0).randrange(20, 120)),
        trainings.run("killed", stop="signal 5"),
        trainings.run("killed", stop="validation 1"),
        trainings.run("killed", stop="signal in validation 1"),
        trainings.run("killed", stop="signal 11", multi_step=1),
        trainings.run("killed", stop="error 14"),
        trainings.run("killed", multi_step=4),
    ]
    said, folder = trainings.complaints(), str(trainings.folder / "killed")
    assert ends == [KILLED, KILLED, TERMINATED, KILLED, TERMINATED, TERMINATED, 1, 0], said
    assert trainings.result("killed") == whole["epochs"]
    for end in ("SIGTERM at step 5", "SIGTERM at step 10", "SIGTERM at step 12", "ValueError at step 14"):
        assert f"{end}; saved up to step {end.split()[-1]} in {folder}/" in said
    assert said.count(f"go on with px.fit(…, checkpoint_dir={folder!r}, resume=True)") == 4


def test_a_training_of_so_many_steps_with_workers_changes_nothing_either(trainings, whole):
    """Validation in the middle of epochs, and the end in the middle of one; workers die with their training."""
    ends = [trainings.run("by steps", stop="step 8", workers=1, **BY_STEPS), trainings.run("by steps", **BY_STEPS)]
    assert ends == [KILLED, 0], trainings.complaints()
    assert trainings.result("by steps") == whole["steps"]
    assert trainings.run("by steps", **BY_STEPS) == 0  # nothing is left to do, and nothing is done
    assert trainings.result("by steps") == whole["steps"]


def test_no_process_outlives_its_training(trainings):
    for _ in range(100):
        if not trainings.orphans():
            return
        time.sleep(0.1)  # a worker looks for its parent now and then
    raise AssertionError(f"processes {trainings.orphans()} live on")


def test_a_training_that_was_ended_early_goes_on_as_a_longer_one(trainings):
    """13 steps and then 15 are 15 steps."""
    options = {"epochs": 1, "every": 5}
    ends = [
        trainings.run("longer", steps=13, **options),
        trainings.run("longer", steps=15, **options),
        trainings.run("long", steps=15, **options),
    ]
    assert ends == [0, 0, 0], trainings.complaints()
    for part in ("model", "opt"):
        assert trainings.result("longer")["arrays"][part] == trainings.result("long")["arrays"][part]
