"""A server in a process of its own with one small model, for clients that are other people's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import phlox as px


@dataclass(frozen=True)
class Served:
    """A server in a process of its own, and what its model ``net`` gives for ``x``."""

    port: int
    grpc_port: int
    x: np.ndarray
    y: np.ndarray

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, path: Path) -> dict[str, Any]:
        """What a client's program tells, run in a process of its own."""
        given = json.dumps({"port": self.port, "grpc_port": self.grpc_port, "x": self.x.tolist()})
        done = subprocess.run([sys.executable, str(path), given], capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def served_net(folder: Path) -> Iterator[Served]:
    """The server, from its first answer on; what it serves is written into a folder."""
    (folder / "net").mkdir()
    model = px.Chain(px.Dense(4, 8, px.tanh, key=0), px.Dense(8, 3, key=1))
    px.export(model, folder / "net" / "1", inputs={"x": px.Spec("batch", 4)})
    command = [sys.executable, "-m", "phlox", "serve", str(folder), "--port", "0", "--grpc-port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        told = next(json.loads(line) for line in process.stderr if '"serving"' in line)
        x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
        ports = [int(told[name].rpartition(":")[2]) for name in ("url", "grpc")]
        yield Served(*ports, x, np.asarray(model(x)))
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()
