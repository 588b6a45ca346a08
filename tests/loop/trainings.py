"""Trainings in forks of one process, that can be killed; see ``training_child``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import phlox as px
from phlox.loop.checkpoints._manifest import check_files
from phlox.loop.checkpoints._store import CheckpointStore

HERE = Path(__file__).parent
KILLED, TERMINATED = -9, 143


class Trainings:
    """Runs trainings in forks of one process, with one compile cache, and looks at their folders between them."""

    def __init__(self, folder):
        self.folder = folder
        environment = {
            **os.environ,
            "PYTHONPATH": f"{Path(px.__file__).parents[1]}:{HERE.parent}",
            "PHLOX_COMPILE_CACHE": str(folder / "cache"),
        }
        self.log = open(folder / "errors", "w")  # noqa: SIM115 - closed in ``end``
        self.server = subprocess.Popen(
            [sys.executable, HERE / "training_child.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def run(self, name, **options):
        """One training in the folder of this name; how it ended. Its checkpoints are whole."""
        job = {"folder": str(self.folder / name), "result": str(self.folder / f"{name}.json"), **options}
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        code = json.loads(self.server.stdout.readline() or "null")
        for saved in CheckpointStore(job["folder"]).checkpoints():
            check_files(saved.path)
        return code

    def result(self, name):
        return json.loads((self.folder / f"{name}.json").read_text())

    def complaints(self):
        return (self.folder / "errors").read_text()

    def orphans(self):
        """Processes of the session that outlived their training."""
        mine = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.server.pid and int(stat.parent.name) != self.server.pid and fields[0] != "Z":
                mine.append(stat.parent.name)
        return mine

    def end(self):
        self.server.stdin.close()
        self.server.wait()
        self.server.stdout.close()
        self.log.close()
