"""A hundred trainings of six kinds, each killed at a random moment, end bit for bit as those that nobody disturbed.

``PHLOX_KILLS=12`` kills less often, ``PHLOX_KILL_SEED=7`` at other moments, ``-k fp16`` one kind alone.
"""

import os
import random
import shutil
import time

import pytest

from kit import oracle
from loop.trainings import KILLED, Trainings

oracle("orbax.checkpoint")
KINDS = ["fp16", "workers", "streams", "ema", "swa", "restore_best"]
KILLS, SEED = int(os.environ.get("PHLOX_KILLS", "100")), int(os.environ.get("PHLOX_KILL_SEED", "0"))
TRIES = 8  # at a moment that comes before the training is over
LIMIT = 1200  # seconds of one kind


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    trainings = Trainings(tmp_path_factory.mktemp("trainings"))
    yield trainings
    trainings.end()


def moment(draw, seconds):
    """A moment to die: at an instant, at a file that is opened, renamed or removed, or in a hook."""
    return draw.choice(
        [
            {"after": draw.uniform(0.0, seconds)},
            {"event": draw.randrange(1, 600)},
            {"stop": f"step {draw.randrange(1, 16)}"},
            {"stop": f"{draw.choice(['validation', 'epoch'])} {draw.randrange(3)}"},
        ]
    )


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_kills_change_nothing(trainings, kind, capsys):
    number = KINDS.index(kind)
    count = KILLS // len(KINDS) + (number < KILLS % len(KINDS))
    draw = random.Random(1000 * SEED + number)
    options = {"kind": kind, "workers": 2 if kind == "workers" else 0}
    assert trainings.run(f"{kind} whole", **options) == 0, trainings.complaints()  # compiles
    began = time.perf_counter()
    assert trainings.run(f"{kind} again", **options) == 0, trainings.complaints()
    seconds, began = time.perf_counter() - began, time.perf_counter()
    whole = trainings.result(f"{kind} whole")
    assert whole["values"]["step"] == 15
    assert trainings.result(f"{kind} again") == whole
    for kill in range(count):
        name, moments = f"{kind} {kill}", []
        for _ in range(TRIES):
            moments.append(moment(draw, seconds))
            multi_step = draw.choice(["auto", 1, 3])
            if trainings.run(name, **options, multi_step=multi_step, **moments[-1]) == KILLED:
                break
            shutil.rmtree(trainings.folder / name)  # it was over before: from the beginning
        else:
            raise AssertionError(f"none of {moments} came before the end")
        assert trainings.run(name, **options) == 0, f"{moments[-1]}: {trainings.complaints()}"
        assert trainings.result(name) == whole, moments[-1]
        spent = time.perf_counter() - began
        assert spent < LIMIT, f"{kill + 1} of {count} kills took {spent:.0f} s"
        with capsys.disabled():
            print(f"{kind}: kill {kill + 1} of {count}, {moments[-1]}, {spent:.0f} s", flush=True)
        shutil.rmtree(trainings.folder / name)
