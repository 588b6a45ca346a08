"""What each worker runs: a server with a place among others. ``python -c`` calls ``main``."""

from __future__ import annotations

import pickle
import socket
import sys
from dataclasses import replace

import jax

from phlox.core import PhloxError
from phlox.serving._life import Life
from phlox.serving.workers._files import fault_path
from phlox.serving.workers._place import Place
from phlox.serving.workers._told import Told


def main() -> None:
    """Serve until SIGTERM; an error of ours is left for the process that started this one."""
    told: Told = pickle.load(sys.stdin.buffer)  # its parent alone can write there
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # a thread of the server's waits for it anyway
    listener = socket.socket(fileno=told.listener)
    settings = replace(told.settings, journal=sys.stderr if told.journal else None)
    try:
        Life(settings, listener, told.grpc_port, Place(told.slot, told.count, told.folder, listener)).run(signals=True)
    except PhloxError as error:
        fault_path(told.folder, told.slot).write_bytes(pickle.dumps(error))
        raise SystemExit(1) from None
