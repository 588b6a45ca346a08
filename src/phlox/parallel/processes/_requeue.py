"""A job that was told to end and has saved, put into Slurm's queue again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

ASKED = "PHLOX_REQUEUE"  # the variable that asks for it
NOTICES = tuple(128 + number for number in (signal.SIGTERM, getattr(signal, "SIGUSR1", None)) if number is not None)
"""Statuses of a process that has ended as a notice asked: SIGTERM, and of Slurm SIGUSR1."""

_SECONDS = 60.0


def requeue(error: BaseException | None, where: str) -> bool:
    """Have Slurm start this job again, where the environment asks for it and a notice ended the training.

    Arguments:
        error: by which the training ends.
        where: who speaks.

    Returns:
        Whether Slurm has taken it.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not isinstance(error, SystemExit) or error.code not in NOTICES or not job or os.environ.get(ASKED) != "1":
        return False
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=_SECONDS)
        wrong = done.stderr.strip() if done.returncode else ""
        taken = done.returncode == 0
    except (OSError, subprocess.TimeoutExpired) as failure:
        taken, wrong = False, str(failure)
    told = "is in Slurm's queue again" if taken else f"could not be put into Slurm's queue again: {wrong}"
    print(f"{where}: job {job} {told}", file=sys.stderr, flush=True)
    return taken
