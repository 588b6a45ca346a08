"""Two tasks that srun starts on this machine, where there is Slurm: they train together, and are queued again.

On Debian: ``apt-get install slurm-wlm munge``; ``mungekey -c`` and ``munged`` as the user munge; a slurm.conf with

    ClusterName=one
    SlurmctldHost=HOST
    SlurmUser=root
    SlurmdUser=root
    AuthType=auth/munge
    StateSaveLocation=/var/spool/slurmctld
    SlurmdSpoolDir=/var/spool/slurmd
    ProctrackType=proctrack/linuxproc
    TaskPlugin=task/none
    SelectType=select/cons_tres
    SelectTypeParameters=CR_Core
    ReturnToService=2
    NodeName=HOST CPUs=2 State=UNKNOWN
    PartitionName=all Nodes=ALL Default=YES State=UP

where HOST is what ``hostname -s`` says; then ``slurmctld`` and ``slurmd``, as root.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "scale" / "train.py"
PROGRAM = Path(__file__).resolve().parent / "requeued.py"
pytestmark = pytest.mark.soak


def is_up():
    """Whether there is a node to run on."""
    if shutil.which("srun") is None or shutil.which("sinfo") is None:
        return False
    asked = subprocess.run(["sinfo", "-h", "-t", "idle"], capture_output=True, text=True, timeout=30, check=False)
    return asked.returncode == 0 and bool(asked.stdout.strip())


@pytest.mark.skipif(not is_up(), reason="no Slurm with an idle node")
def test_two_tasks_train_the_example_as_one_process_does(tmp_path):
    def losses(name, *before):
        out = tmp_path / name
        command = [*before, sys.executable, str(EXAMPLE), "--steps", "20", "--float64", "--out", str(out)]
        env = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return [json.loads(path.read_text())["losses"] for path in sorted(tmp_path.glob(f"{name}.*"))]

    (alone,) = losses("alone")
    together = losses("together", "srun", "-n", "2", "--export=ALL")
    assert len(alone) == 20
    assert len(together) == 2
    for found in together:
        np.testing.assert_allclose(found, alone, rtol=0, atol=1e-9)


REQUEUED = """#!/bin/sh
#SBATCH -n 2 --requeue --open-mode=append --signal=USR1@5
export PHLOX_REQUEUE=1 JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=1
srun --kill-on-bad-exit=1 {python} {program} {folder}
"""


@pytest.mark.skipif(not is_up(), reason="no Slurm with an idle node")
def test_a_job_that_is_told_to_end_saves_is_queued_again_and_ends_bit_for_bit(tmp_path):
    script = tmp_path / "job.sh"
    script.write_text(REQUEUED.format(python=sys.executable, program=PROGRAM, folder=tmp_path))
    command = ["sbatch", "--parsable", "--wait", "--export=ALL", "-o", str(tmp_path / "out"), str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as job:
        assert job.stdout is not None
        number = job.stdout.readline().strip()
        while not (tmp_path / "ready").exists():  # the first start has taken some steps
            assert job.poll() is None, (tmp_path / "out").read_text()[-3000:]
            time.sleep(0.2)
        subprocess.run(["scancel", "--signal=USR1", number], check=True)
        ended = job.wait(400)  # Slurm lets a job wait for two minutes that is queued again
    assert ended == 0, (tmp_path / "out").read_text()[-3000:]
    assert f"px.fit: job {number} is in Slurm's queue again" in (tmp_path / "out").read_text()
    found = [json.loads((tmp_path / f"ended.{n}").read_text()) for n in range(2)]
    assert [one["restarts"] for one in found] == ["1", "1"]
    assert all(one["ended"] == one["straight"] for one in found)
