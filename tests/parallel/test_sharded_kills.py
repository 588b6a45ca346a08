"""Forty trainings, of two processes and of four, of which one is killed at a random moment, end bit for bit as others.

``PHLOX_KILLS=6`` kills less often, ``PHLOX_KILL_SEED=7`` at other moments.
"""

import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest

import phlox as px
from kit import oracle
from phlox.cli._launch import launch

oracle("orbax.checkpoint")
PROGRAM = Path(__file__).resolve().parent / "sharded_kills.py"
KILLS, SEED = int(os.environ.get("PHLOX_KILLS", "40")), int(os.environ.get("PHLOX_KILL_SEED", "0"))
TRIES = 8  # at a moment that comes before the training is over
LIMIT = 150  # seconds of one kill: those that are left notice it, end, and all start again


def ended(folder, processes, moment, kind):
    """How a training ended, and what its processes then held; its checkpoints are whole."""
    folder.mkdir(exist_ok=True)
    where = f"local://{folder / 'run'}" if kind == "store" else str(folder / "run")
    status = launch([str(PROGRAM), json.dumps(moment | {"where": where}), str(folder)], processes)
    store = px.CheckpointStore(where)
    for saved in store.checkpoints():
        store.read(saved)
    files = [folder / f"{n}.json" for n in range(processes)]
    return status, [json.loads(file.read_text()) if file.exists() else None for file in files]


def moment_of(draw, processes, seconds):
    """At an instant, at a file, or at a step."""
    moments = [
        {"after": draw.uniform(0.0, seconds)},
        {"event": draw.randrange(1, 400)},
        {"step": draw.randrange(1, 12)},
    ]
    return {"process": draw.randrange(processes), **draw.choice(moments)}


@pytest.mark.soak
@pytest.mark.parametrize(("processes", "kind"), [(2, "disk"), (4, "disk"), (2, "store")])
def test_kills_of_one_change_nothing(tmp_path, monkeypatch, capsys, processes, kind):
    """On a disk that all see, and in an object store, which a folder plays."""
    given = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "FSSPEC_LOCAL_AUTO_MKDIR": "yes"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    draw = random.Random(1000 * SEED + processes)
    assert ended(tmp_path / "first", processes, {}, kind)[0] == 0  # compiles
    began = time.perf_counter()
    status, whole = ended(tmp_path / "whole", processes, {}, kind)
    seconds = 0.5 * (time.perf_counter() - began)  # about half of it is the start
    assert status == 0
    for kill in range(KILLS // 2):
        folder, began, moments = tmp_path / "killed", time.perf_counter(), []
        for _ in range(TRIES):
            moments.append(moment_of(draw, processes, seconds))
            if ended(folder, processes, moments[-1], kind)[0] != 0:
                break
            shutil.rmtree(folder)  # it was over before: from the beginning
        else:
            raise AssertionError(f"none of {moments} came before the end")
        status, found = ended(folder, processes, {}, kind)
        spent = time.perf_counter() - began
        with capsys.disabled():
            print(
                f"kill {kill + 1} of {KILLS // 2}, {processes} processes, {kind}, {moments}, {spent:.0f} s", flush=True
            )
        assert status == 0
        assert found == whole, moments[-1]
        assert spent < LIMIT * len(moments)
        shutil.rmtree(folder)
